"""`/me`: who I am, what I may do, and my password."""

from contracts import identity
from gateway.route import Route

ROUTES = (
    Route("GET", "/me", identity.GET_ME),
    Route("POST", "/me/password", identity.CHANGE_PASSWORD, status=204),
)
