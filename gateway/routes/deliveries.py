"""`/deliveries`: every change that is, was or will be on its way to an external system.

Sending one again takes an idempotency key.
"""

from contracts import integrations
from gateway.route import Route

ROUTES = (
    Route("GET", "/deliveries", integrations.LIST_DELIVERIES),
    Route("GET", "/deliveries/{id}", integrations.GET_DELIVERY),
    Route("POST", "/deliveries/{id}/retry", integrations.RETRY_DELIVERY, status=202, key_required=True),
    Route("POST", "/deliveries/{id}/cancel", integrations.CANCEL_DELIVERY),
    Route("GET", "/deliveries/{id}/attempts", integrations.LIST_ATTEMPTS),
)
