"""`/queues`: where tickets wait for somebody to answer them."""

from contracts import tickets
from gateway.route import Route

ROUTES = (
    Route("GET", "/queues", tickets.LIST_QUEUES),
    Route("POST", "/queues", tickets.CREATE_QUEUE, status=201),
    Route("GET", "/queues/{id}", tickets.GET_QUEUE),
    Route("PATCH", "/queues/{id}", tickets.CHANGE_QUEUE),
    Route("PUT", "/queues/{id}/members/{user_id}", tickets.ADD_QUEUE_MEMBER, etag=False),
    Route("DELETE", "/queues/{id}/members/{user_id}", tickets.REMOVE_QUEUE_MEMBER, status=204),
)
