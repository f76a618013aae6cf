"""`/customers`: whom the company deals with."""

from contracts import customers
from gateway.compositions.customer_overview import CUSTOMER_OVERVIEW
from gateway.route import Route

ROUTES = (
    Route("GET", "/customers", customers.LIST_CUSTOMERS),
    Route("POST", "/customers", customers.CREATE_CUSTOMER, status=201),
    Route("GET", "/customers/{id}", customers.GET_CUSTOMER),
    Route("PATCH", "/customers/{id}", customers.CHANGE_CUSTOMER),
    Route("GET", "/customers/{id}/overview", CUSTOMER_OVERVIEW),
    Route("GET", "/customers/{id}/contacts", customers.LIST_CONTACTS_OF_CUSTOMER),
    Route("GET", "/customers/{id}/tasks", customers.LIST_TASKS_OF_CUSTOMER),
    Route("GET", "/customers/{id}/activities", customers.LIST_ACTIVITIES_OF_CUSTOMER),
    Route("GET", "/customers/{id}/timeline", customers.GET_TIMELINE),
)
