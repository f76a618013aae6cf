"""`/orders`: drafts, confirmations and cancellations. A new order must carry an idempotency key."""

from contracts import sales
from gateway.compositions.order_deliveries import ORDER_DELIVERIES
from gateway.route import Route

ROUTES = (
    Route("GET", "/orders", sales.LIST_ORDERS),
    Route("POST", "/orders", sales.CREATE_ORDER, status=201, key_required=True),
    Route("GET", "/orders/{id}", sales.GET_ORDER),
    Route("GET", "/orders/{id}/deliveries", ORDER_DELIVERIES),
    Route("PATCH", "/orders/{id}", sales.CHANGE_ORDER),
    Route("POST", "/orders/{id}/confirm", sales.CONFIRM_ORDER),
    Route("POST", "/orders/{id}/cancel", sales.CANCEL_ORDER),
)
