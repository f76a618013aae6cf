"""`/me`: who I am, what I may do, what is mine to do, and my password."""

from contracts import identity
from gateway.compositions.my_day import MY_DAY
from gateway.route import Route

ROUTES = (
    Route("GET", "/me", identity.GET_ME, before_password_change=True),
    Route("GET", "/me/today", MY_DAY),
    Route("POST", "/me/password", identity.CHANGE_PASSWORD, status=204, before_password_change=True),
)
