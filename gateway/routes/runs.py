"""`/runs`: matching, backfills, reconciliations, replays and dry runs over whole entities of a connection."""

from contracts import runs
from gateway.route import Route

ROUTES = (
    Route("POST", "/connections/{id}/runs", runs.START_RUN, status=201, path_args={"id": "connection_id"},
          location="/runs/{id}", tag="runs"),
    Route("GET", "/runs", runs.LIST_RUNS),
    # What it counts changes without a new version: an ETag of it would keep an old picture alive.
    Route("GET", "/runs/{id}", runs.GET_RUN, etag=False),
    Route("GET", "/runs/{id}/findings", runs.LIST_FINDINGS),
    Route("PATCH", "/runs/{id}/findings/{finding_id}", runs.DECIDE_FINDING),
    Route("POST", "/runs/{id}/approve", runs.APPROVE_RUN, etag=False),
    Route("POST", "/runs/{id}/cancel", runs.CANCEL_RUN, etag=False),
)
