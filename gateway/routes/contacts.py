"""`/contacts`: the people at a customer."""

from contracts import customers
from gateway.route import Route

ROUTES = (
    Route("GET", "/contacts", customers.LIST_CONTACTS),
    Route("POST", "/contacts", customers.CREATE_CONTACT, status=201),
    Route("GET", "/contacts/{id}", customers.GET_CONTACT),
    Route("PATCH", "/contacts/{id}", customers.CHANGE_CONTACT),
)
