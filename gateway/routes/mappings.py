"""`/routes/{id}/mappings` and `/connections/{id}/code-tables`: what a target is sent of a record."""

from contracts import integrations
from gateway.route import Route

ROUTES = (
    Route("GET", "/routes/{id}/mappings", integrations.LIST_MAPPINGS),
    Route("POST", "/routes/{id}/mappings", integrations.SAVE_MAPPING, status=201,
          location="/routes/{route_id}/mappings/{number}"),
    Route("GET", "/routes/{id}/mappings/{number}", integrations.GET_MAPPING),
    Route("GET", "/routes/{id}/mappings/{number}/preview", integrations.PREVIEW_MAPPING),
    Route("PUT", "/routes/{id}/mapping", integrations.USE_MAPPING),
    Route("GET", "/connections/{id}/code-tables", integrations.LIST_CODE_TABLES),
    Route("GET", "/connections/{id}/code-tables/{name}", integrations.GET_CODE_TABLE),
    Route("PUT", "/connections/{id}/code-tables/{name}", integrations.PUT_CODE_TABLE),
)
