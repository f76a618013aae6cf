"""`/roles`: bundles of rights."""

from contracts import identity
from gateway.route import Route

ROUTES = (
    Route("GET", "/roles", identity.LIST_ROLES),
    Route("POST", "/roles", identity.CREATE_ROLE, status=201),
    Route("GET", "/roles/{id}", identity.GET_ROLE),
    Route("PATCH", "/roles/{id}", identity.CHANGE_ROLE),
    Route("DELETE", "/roles/{id}", identity.DELETE_ROLE, status=204),
)
