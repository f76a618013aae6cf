"""`/routes/{id}/mappings` and `/connections/{id}/code-tables`: what a target is sent of a record."""

from contracts import mappings
from gateway.route import Route

ROUTES = (
    Route("GET", "/routes/{id}/mappings", mappings.LIST_MAPPINGS),
    Route("POST", "/routes/{id}/mappings", mappings.SAVE_MAPPING, status=201,
          location="/routes/{route_id}/mappings/{number}"),
    Route("GET", "/routes/{id}/mappings/{number}", mappings.GET_MAPPING),
    Route("GET", "/routes/{id}/mappings/{number}/preview", mappings.PREVIEW_MAPPING),
    Route("PUT", "/routes/{id}/mapping", mappings.USE_MAPPING),
    Route("GET", "/connections/{id}/code-tables", mappings.LIST_CODE_TABLES),
    Route("GET", "/connections/{id}/code-tables/{name}", mappings.GET_CODE_TABLE),
    Route("PUT", "/connections/{id}/code-tables/{name}", mappings.PUT_CODE_TABLE),
)
