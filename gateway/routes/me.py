"""`/me`: who I am, what I may do, and my password."""

from contracts import identity
from gateway.route import Route

ROUTES = (
    Route("GET", "/me", identity.GET_ME, before_password_change=True),
    Route("POST", "/me/password", identity.CHANGE_PASSWORD, status=204, before_password_change=True),
)
