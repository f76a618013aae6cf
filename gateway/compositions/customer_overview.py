"""A customer on one screen."""

from contracts import customers, sales, tickets
from contracts.schema import ById
from gateway.composition import Part, compose, given


class OverviewOf(ById):
    """The customer at the path with the latest of what there is about it, as far as your rights reach.

    A part that did not come, for a service is away or you may not read it, is null and named in `missing`.
    """


CUSTOMER_OVERVIEW = compose(
    "get_customer_overview", OverviewOf, "A customer, and the latest of what there is about it.",
    summary="Read a customer with what belongs to it",
    anchor=Part("customer", customers.GET_CUSTOMER, {"id": given("id")}),
    parts=(
        Part("contacts", customers.LIST_CONTACTS_OF_CUSTOMER, {"id": given("id")}, "/customers/{id}/contacts"),
        Part("orders", sales.LIST_ORDERS, {"customer_id": given("id")}, "/orders"),
        Part("tickets", tickets.LIST_TICKETS, {"customer_id": given("id"), "unresolved": True}, "/tickets"),
        Part("tasks", customers.LIST_TASKS_OF_CUSTOMER, {"id": given("id"), "unfinished": True},
             "/customers/{id}/tasks"),
        Part("activities", customers.LIST_ACTIVITIES_OF_CUSTOMER, {"id": given("id")}, "/customers/{id}/activities"),
    ),
)
