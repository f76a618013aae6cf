"""Where an order has gone, and why it has not arrived."""

from contracts import integrations, sales
from contracts.schema import ById
from gateway.composition import Part, compose, given, holds_all


class DeliveriesOf(ById):
    """The order at the path, and what became of bringing it to other systems: each delivery with its attempts, and
    what happens next.

    What was sent and answered shows to whoever has the right `delivery:read` to all of them, the list at `href` as
    well. Deliveries that did not come, for a service is away, are null and named in `missing`.
    """


ORDER_DELIVERIES = compose(
    "get_order_deliveries", DeliveriesOf, "An order, and what became of bringing it to other systems.",
    summary="Read where an order has gone",
    anchor=Part("order", sales.GET_ORDER, {"id": given("id")}),
    parts=(
        # Whoever sees the order may know where it stands, without a right to deliveries: the gateway asks.
        Part("deliveries", integrations.LIST_DELIVERIES_OF_RECORD,
             {"entity": "order", "local_id": given("id"), "previews": holds_all(integrations.DELIVERY_READ)},
             "/deliveries", unsaid=frozenset({"previews"}), on_behalf_of_gateway=True),
    ),
)
