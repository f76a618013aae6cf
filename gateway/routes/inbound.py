"""`/inbound`: where the webhooks of targets call; a signature stands in for a credential."""

from contracts import integrations
from gateway.route import Route

ROUTES = (
    Route("POST", "/inbound/{connection_id}", integrations.RECEIVE_INBOUND, public=True, raw="body",
          told={"headers": "headers"}, etag=False),
)
