"""`/users`: the people who work with the hub."""

from contracts import identity
from gateway.route import Route

ROUTES = (
    Route("GET", "/users", identity.LIST_USERS),
    Route("POST", "/users", identity.CREATE_USER, status=201),
    Route("GET", "/users/{id}", identity.GET_USER),
    Route("PATCH", "/users/{id}", identity.CHANGE_USER),
    Route("POST", "/users/{id}/disable", identity.DISABLE_USER),
    Route("POST", "/users/{id}/enable", identity.ENABLE_USER),
    Route("POST", "/users/{id}/reset-password", identity.RESET_PASSWORD),
)
