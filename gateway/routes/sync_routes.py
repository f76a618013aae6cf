"""`/routes`: which entity travels over which connection, and which way."""

from contracts import integrations
from gateway.route import Route

ROUTES = (
    Route("GET", "/routes", integrations.LIST_ROUTES),
    Route("POST", "/routes", integrations.CREATE_ROUTE, status=201),
    Route("GET", "/routes/{id}", integrations.GET_ROUTE),
    Route("PATCH", "/routes/{id}", integrations.CHANGE_ROUTE),
    Route("POST", "/routes/{id}/activate", integrations.ACTIVATE_ROUTE),
    Route("POST", "/routes/{id}/deactivate", integrations.DEACTIVATE_ROUTE),
)
