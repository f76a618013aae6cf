"""`/adapters`: the kinds of external system that this installation can talk to."""

from contracts import integrations
from gateway.route import Route

ROUTES = (Route("GET", "/adapters", integrations.LIST_ADAPTERS),)
