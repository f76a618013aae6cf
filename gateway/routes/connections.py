"""`/connections`: the configured external systems."""

from contracts import integrations
from gateway.route import Route

ROUTES = (
    Route("GET", "/connections", integrations.LIST_CONNECTIONS),
    Route("POST", "/connections", integrations.CREATE_CONNECTION, status=201),
    Route("GET", "/connections/{id}", integrations.GET_CONNECTION),
    Route("PATCH", "/connections/{id}", integrations.CHANGE_CONNECTION),
    Route("POST", "/connections/{id}/check", integrations.CHECK_CONNECTION),
    Route("POST", "/connections/{id}/pause", integrations.PAUSE_CONNECTION),
    Route("POST", "/connections/{id}/resume", integrations.RESUME_CONNECTION),
    Route("POST", "/connections/{id}/pull", integrations.PULL_NOW),
    Route("PUT", "/connections/{id}/credential", integrations.PUT_CREDENTIAL),
    Route("GET", "/connections/{id}/ledger", integrations.GET_LEDGER),
)
