"""`/activities`: what people did, as they logged it."""

from contracts import customers
from gateway.route import Route

ROUTES = (
    Route("GET", "/activities", customers.LIST_ACTIVITIES),
    Route("POST", "/activities", customers.LOG_ACTIVITY, status=201),
    Route("GET", "/activities/{id}", customers.GET_ACTIVITY),
)
