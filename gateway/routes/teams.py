"""`/teams`: the company's tree."""

from contracts import identity
from gateway.route import Route

ROUTES = (
    Route("GET", "/teams", identity.LIST_TEAMS),
    Route("POST", "/teams", identity.CREATE_TEAM, status=201),
    Route("GET", "/teams/{id}", identity.GET_TEAM),
    Route("PATCH", "/teams/{id}", identity.CHANGE_TEAM),
    Route("DELETE", "/teams/{id}", identity.DELETE_TEAM, status=204),
)
