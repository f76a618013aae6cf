"""`/runs`: matching, backfills, reconciliations, replays and dry runs over whole entities of a connection.

Starting one takes an idempotency key: a replay is one.
"""

from contracts import integrations
from gateway.route import Route

ROUTES = (
    Route("POST", "/connections/{id}/runs", integrations.START_RUN, status=201, path_args={"id": "connection_id"},
          location="/runs/{id}", tag="runs", key_required=True),
    Route("GET", "/runs", integrations.LIST_RUNS),
    # What it counts changes without a new version: an ETag of it would keep an old picture alive.
    Route("GET", "/runs/{id}", integrations.GET_RUN, etag=False),
    Route("GET", "/runs/{id}/findings", integrations.LIST_FINDINGS),
    Route("PATCH", "/runs/{id}/findings/{finding_id}", integrations.DECIDE_FINDING),
    Route("POST", "/runs/{id}/approve", integrations.APPROVE_RUN, etag=False),
    Route("POST", "/runs/{id}/cancel", integrations.CANCEL_RUN, etag=False),
)
