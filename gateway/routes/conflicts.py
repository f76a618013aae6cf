"""`/conflicts`: where a target and the hub do not agree and a person has to decide."""

from contracts import integrations
from gateway.route import Route

ROUTES = (
    Route("GET", "/conflicts", integrations.LIST_CONFLICTS),
    Route("GET", "/conflicts/{id}", integrations.GET_CONFLICT),
    Route("POST", "/conflicts/{id}/resolve", integrations.RESOLVE_CONFLICT),
)
