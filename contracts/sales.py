"""What the sales service is asked, answers and announces: what can be sold, and what has been.

Money. Amounts are decimal strings beside an ISO 4217 currency. A line's `amount` is `quantity` × `unit_price`, rounded
half up (ROUND_HALF_UP) to the currency's minor unit (cents; none for JPY, three decimals for KWD); an order's `total`
is the exact sum of its lines' amounts. Prices and amounts are net: `tax_code` says which tax the ERP adds.

States. An order is `draft` → `confirmed` → `fulfilled`, or `cancelled` from draft or confirmed. A draft may be changed;
from its confirmation on an order never changes, it can only be cancelled. Confirming or cancelling an order twice with
one idempotency key answers twice the same; without a key the second call answers `invalid_transition`, naming the
state, and announces nothing: it cannot be told from somebody else's second order of the same step.

Shipments are the ERP's: they come from there and show on the order. An order is `fulfilled` when all of it has been
shipped. Of an order whose goods have begun to leave nothing can be cancelled here any more.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from marshmallow import fields, validate

from contracts import errors, masks
from contracts.event import EventType
from contracts.inbound import ExternalRefusal
from contracts.operation import Operation, Permission
from contracts.schema import (
    ById,
    Identifier,
    Money,
    OneOf,
    PageRequest,
    Record,
    Request,
    Sensitive,
    Text,
    Timestamp,
    page_of,
)

SERVICE = "sales"
ORDER_STATES = ("draft", "confirmed", "fulfilled", "cancelled")
PAYMENT_STATES = ("unpaid", "partial", "paid")
MOST_LINES = 500


class Price(Money):
    """An amount of money: at least two decimals, no more than it needs ("199.00", "0.8512")."""

    def _serialize(self, value: Decimal | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        if value is None:
            return None
        short = Decimal(value).normalize()
        exponent = short.as_tuple().exponent
        return f"{short:f}" if isinstance(exponent, int) and exponent < -2 else f"{short:.2f}"


class Quantity(Money):
    """How much of something, as a decimal string without trailing zeros ("2", "0.5")."""

    def _serialize(self, value: Decimal | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else f"{Decimal(value).normalize():f}"


def _currency(**kwargs: Any) -> fields.String:
    return fields.String(validate=validate.Regexp(r"^[A-Z]{3}\Z", error="Is not an ISO 4217 code."), **kwargs)


# --- products -----------------------------------------------------------------------------------------------------


class Product(Record):
    """Something that can be sold, as the ERP has it.

    `available` is `on_hand` less what our own confirmed orders have `reserved`. It may fall below zero when the ERP
    counts less than was promised. Null where nothing is counted: a service, which never runs out.
    """

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    sku = fields.String(required=True)
    name = fields.String(required=True)
    category = fields.String(required=True)
    price = Price(required=True, allow_none=True)
    currency = fields.String(required=True)
    tax_code = fields.String(required=True)
    active = fields.Boolean(required=True)
    on_hand = Quantity(required=True, allow_none=True)
    reserved = Quantity(required=True)
    available = Quantity(required=True, allow_none=True)
    stock_at = Timestamp(required=True, allow_none=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class ProductList(PageRequest):
    """Filters of the list."""

    q = Text(most=100, metadata={"description": "Start of the name or of the SKU."})
    sku = Text(most=100)
    active = fields.Boolean()
    sort = fields.String(load_default="sku", validate=OneOf("sku", "-sku", "name", "-name"))


# --- orders -------------------------------------------------------------------------------------------------------


class ShipTo(Record):
    """Where an order goes, if not to the customer's own address."""

    recipient = Text(most=200, load_default="")
    phone = Sensitive(load_default="", validate=validate.Length(max=40), mask=masks.phone)
    street = Sensitive(load_default="", validate=validate.Length(max=300), mask=masks.whole)
    city = Text(most=100, load_default="")
    postal_code = Text(most=20, load_default="")
    country = fields.String(load_default="CN",
                            validate=validate.Regexp(r"^[A-Z]{2}\Z", error="Is not an ISO 3166 code."))


class ShipToAsked(ShipTo):
    """Where an order is to go, if not to the customer's own address."""

    phone = Sensitive(load_default="", validate=validate.And(validate.Length(max=40), masks.Unmasked()))
    street = Sensitive(load_default="", validate=validate.And(validate.Length(max=300), masks.Unmasked()))

    class Meta(Request.Meta):
        pass


class LineAsked(Request):
    """What to order. Price and tax code are the product's unless given.

    Whether the quantity is above zero is checked with the rest of the order, so that all refusals come at once.
    """

    sku = Text(required=True, least=1, most=100)
    quantity = Quantity(required=True, metadata={"description": "Above zero, at most four decimals."})
    unit_price = Price(metadata={"description": "Net; zero or above."})
    tax_code = Text(most=40)


class _OrderFields(Request):
    note = Text(most=2000)
    ship_to = fields.Nested(ShipToAsked, allow_none=True)


def _lines(**kwargs: Any) -> fields.List[dict[str, Any]]:
    return fields.List(fields.Nested(LineAsked), metadata={"minItems": 1, "maxItems": MOST_LINES}, **kwargs)


class OrderCreate(_OrderFields):
    """A draft order of a customer. Its lines keep SKU, name, price and tax code as they are now."""

    customer_id = Identifier(required=True)
    currency = _currency(required=True)
    lines = _lines(required=True)


class OrderChanges(_OrderFields):
    """The fields to change; what is absent stays. `lines` replaces all lines."""

    customer_id = Identifier()
    currency = _currency()
    lines = _lines()


class OrderChange(Request):
    """A change to a draft order as the caller last read it."""

    id = Identifier(required=True)
    expected_version = fields.Integer(required=True, strict=True)
    changes = fields.Nested(OrderChanges, required=True)


class OrderConfirm(ById):
    """Confirms a draft order and reserves its stock, all of it or none."""

    expected_version = fields.Integer(strict=True, load_default=None, allow_none=True)


class OrderCancel(ById):
    """Cancels an order that is not fulfilled and gives its stock back."""

    reason = Text(required=True, least=1, most=300)
    expected_version = fields.Integer(strict=True, load_default=None, allow_none=True)


class OrderList(PageRequest):
    """Filters of the list."""

    status = fields.String(validate=OneOf(*ORDER_STATES))
    customer_id = Identifier()
    number = Text(most=30)
    sort = fields.String(load_default="-created_at", validate=OneOf("created_at", "-created_at", "updated_at",
                                                                   "-updated_at", "number", "-number"))


class OrderLine(Record):
    """One line of an order; `line` counts from 1."""

    line = fields.Integer(required=True)
    sku = fields.String(required=True)
    name = fields.String(required=True)
    quantity = Quantity(required=True)
    unit_price = Price(required=True)
    tax_code = fields.String(required=True)
    amount = Price(required=True)


class OrderSummary(Record):
    """An order without its lines, as a list shows it."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    number = fields.String(required=True)
    customer_id = fields.String(required=True)
    status = fields.String(required=True, validate=OneOf(*ORDER_STATES))
    payment_status = fields.String(required=True, validate=OneOf(*PAYMENT_STATES))
    currency = fields.String(required=True)
    total = Price(required=True)
    line_count = fields.Integer(required=True)
    note = fields.String(required=True)
    owner_id = fields.String(required=True)
    team_id = fields.String(required=True, allow_none=True)
    confirmed_at = Timestamp(required=True, allow_none=True)
    cancelled_at = Timestamp(required=True, allow_none=True)
    cancel_reason = fields.String(required=True, allow_none=True)
    fulfilled_at = Timestamp(allow_none=True)
    created_by = fields.String(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class ShipmentLine(Record):
    """How much of one product is in a shipment."""

    sku = Text(required=True, most=100)
    quantity = Quantity(places=20, required=True)


class Shipment(Record):
    """Goods on their way to a customer, as the ERP tells.

    `state` is in the ERP's words; `done` says that the goods have left, `cancelled` that they never will, anything else
    that they are still to go. `done_at` is when they left, by the ERP's clock, and null until then.
    """

    external_id = Text(required=True, least=1, most=200)
    number = Text(required=True, allow_none=True, most=100)
    state = Text(required=True, most=40)
    lines = fields.List(fields.Nested(ShipmentLine), required=True)
    done_at = Timestamp(required=True, allow_none=True)


class Order(OrderSummary):
    """An order with its lines and what the ERP has shipped of it, oldest shipment first. Without the right
    `order:unmask` to it, phone and street of `ship_to` are masked."""

    masked_as = "order"

    lines = fields.List(fields.Nested(OrderLine), required=True)
    ship_to = fields.Nested(ShipTo, required=True, allow_none=True)
    shipments = fields.List(fields.Nested(Shipment))


# --- operations ---------------------------------------------------------------------------------------------------

PRODUCT_READ = Permission("product", "read")
ORDER_READ = Permission("order", "read")
ORDER_CREATE = Permission("order", "create")
ORDER_CHANGE = Permission("order", "change")
ORDER_CONFIRM = Permission("order", "confirm")
ORDER_CANCEL = Permission("order", "cancel")

LIST_PRODUCTS = Operation(SERVICE, "list_products", ProductList, page_of(Product), PRODUCT_READ,
                          (errors.InvalidCursor,), mutates=False, summary="List products with their stock")
GET_PRODUCT = Operation(SERVICE, "get_product", ById, Product, PRODUCT_READ, (errors.NotFound,), mutates=False,
                        summary="Read a product")
CREATE_ORDER = Operation(SERVICE, "create_order", OrderCreate, Order, ORDER_CREATE,
                         (errors.Invalid, errors.CustomerNotKnown), summary="Draft an order")
GET_ORDER = Operation(SERVICE, "get_order", ById, Order, ORDER_READ, (errors.NotFound,), mutates=False,
                      summary="Read an order")
LIST_ORDERS = Operation(SERVICE, "list_orders", OrderList, page_of(OrderSummary), ORDER_READ, (errors.InvalidCursor,),
                        mutates=False, summary="List the orders within your reach")
CHANGE_ORDER = Operation(SERVICE, "change_order", OrderChange, Order, ORDER_CHANGE,
                         (errors.NotFound, errors.StaleVersion, errors.InvalidTransition, errors.Invalid,
                          errors.CustomerNotKnown), summary="Change a draft order")
CONFIRM_ORDER = Operation(SERVICE, "confirm_order", OrderConfirm, Order, ORDER_CONFIRM,
                          (errors.NotFound, errors.StaleVersion, errors.InvalidTransition, errors.InsufficientStock,
                           errors.Invalid), summary="Confirm an order and reserve its stock")
CANCEL_ORDER = Operation(SERVICE, "cancel_order", OrderCancel, Order, ORDER_CANCEL,
                         (errors.NotFound, errors.StaleVersion, errors.InvalidTransition), summary="Cancel an order")

OPERATIONS = (LIST_PRODUCTS, GET_PRODUCT,
              CREATE_ORDER, GET_ORDER, LIST_ORDERS, CHANGE_ORDER, CONFIRM_ORDER, CANCEL_ORDER)


# --- events -------------------------------------------------------------------------------------------------------


class ProductState(Record):
    """What sales takes from an `external.changed` whose entity is `product`: the product as the ERP has it at `as_of`.

    Newer is the higher version of the event, whatever `as_of` says. `on_hand` is null for what is not kept in stock.
    """

    sku = Text(required=True, least=1, most=100)
    name = Text(required=True, least=1, most=500)
    price = Price(places=20, load_default=None, allow_none=True)
    currency = _currency(required=True)
    category = Text(most=200, load_default="", allow_none=True)
    tax_code = Text(most=40, load_default="", allow_none=True)
    active = fields.Boolean(load_default=True)
    on_hand = Quantity(places=20, load_default=None, allow_none=True)
    as_of = Timestamp(required=True)


class ExternalOrder(Record):
    """What sales takes from an `external.changed` whose entity is `order`: what the ERP has made of an order.

    `id` is our order's, if the ERP keeps it; `number` is the ERP's. Of the states, which are in the ERP's words, sales
    knows these: a `state` of `cancelled` (all of it was called off) or `done` (nothing more will happen), and a
    `shipment_state` of `sent` (nothing is left to ship). `shipments` are all there are, each as of now.
    """

    id = Text(load_default=None, allow_none=True, most=100)
    number = Text(load_default=None, allow_none=True, most=100)
    state = Text(required=True, most=40)
    shipment_state = Text(required=True, most=40)
    invoice_state = Text(load_default="none", most=40)
    shipments = fields.List(fields.Nested(Shipment), required=True)


class StockUpdated(Record):
    """What is available of a product has changed by the ERP's count; null where nothing is counted."""

    product_id = Identifier(required=True)
    sku = fields.String(required=True)
    on_hand = Quantity(required=True, allow_none=True)
    available = Quantity(required=True, allow_none=True)
    as_of = Timestamp(required=True)


ORDER_CONFIRMED = EventType(SERVICE, "order.confirmed", "order", Order, schemaversion=2)
ORDER_CANCELLED = EventType(SERVICE, "order.cancelled", "order", Order, schemaversion=2)
ORDER_FULFILLED = EventType(SERVICE, "order.fulfilled", "order", Order, expects_listener=False)
"""All of an order has been shipped. It travels nowhere: it came from there."""
ORDER_SNAPSHOT = EventType(SERVICE, "order.snapshot", "order", Order, schemaversion=2, expects_listener=False)
"""Every order that was ever announced, as it is now; drafts are nobody else's business yet."""
STOCK_UPDATED = EventType(SERVICE, "stock.updated", "product", StockUpdated, expects_listener=False)
EXTERNAL_REFUSED = EventType(SERVICE, "external.refused", "external", ExternalRefusal)
"""An inbound change of an order that the rules here do not allow."""

EVENTS = (EXTERNAL_REFUSED, ORDER_CONFIRMED, ORDER_CANCELLED, ORDER_FULFILLED, ORDER_SNAPSHOT, STOCK_UPDATED)
