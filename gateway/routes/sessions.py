"""`/sessions` and `/login-events`: signing in and out, and who tried."""

from contracts import identity
from gateway.route import Route

ROUTES = (
    Route("POST", "/sessions", identity.SIGN_IN, status=201, public=True,
          told={"source": "address", "user_agent": "user_agent"}, location="/sessions/{session[id]}"),
    Route("GET", "/sessions", identity.LIST_SESSIONS),
    Route("DELETE", "/sessions/{id}", identity.REVOKE_SESSION, before_password_change=True),
    Route("GET", "/login-events", identity.LIST_LOGIN_EVENTS),
)
