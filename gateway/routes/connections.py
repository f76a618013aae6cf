"""`/connections`: the configured external systems."""

from contracts import integrations
from gateway.route import Route

ROUTES = (
    Route("GET", "/connections", integrations.LIST_CONNECTIONS),
    Route("POST", "/connections", integrations.CREATE_CONNECTION, status=201),
    # Health changes without a new version: an ETag of it would keep an old picture alive.
    Route("GET", "/connections/{id}", integrations.GET_CONNECTION, etag=False),
    Route("PATCH", "/connections/{id}", integrations.CHANGE_CONNECTION),
    Route("POST", "/connections/{id}/check", integrations.CHECK_CONNECTION),
    Route("POST", "/connections/{id}/pause", integrations.PAUSE_CONNECTION),
    Route("POST", "/connections/{id}/stop", integrations.STOP_CONNECTION),
    Route("POST", "/connections/{id}/resume", integrations.RESUME_CONNECTION),
    Route("POST", "/connections/{id}/pull", integrations.PULL_NOW),
    Route("PUT", "/connections/{id}/credential", integrations.PUT_CREDENTIAL),
    Route("PUT", "/connections/{id}/accounts/{user_id}", integrations.PUT_ACCOUNT),
    Route("GET", "/connections/{id}/accounts/{user_id}", integrations.GET_ACCOUNT),
    Route("DELETE", "/connections/{id}/accounts/{user_id}", integrations.DELETE_ACCOUNT, status=204),
    Route("POST", "/connections/{id}/bindings", integrations.BIND_RECORD),
    Route("GET", "/connections/{id}/ledger", integrations.GET_LEDGER),
)
