"""`/api-keys`: how programs come in. A key is shown once, when it is made."""

from contracts import identity
from gateway.route import Route

ROUTES = (
    Route("GET", "/api-keys", identity.LIST_API_KEYS),
    Route("POST", "/api-keys", identity.CREATE_API_KEY, status=201),
    Route("GET", "/api-keys/{id}", identity.GET_API_KEY),
    Route("DELETE", "/api-keys/{id}", identity.REVOKE_API_KEY),
)
