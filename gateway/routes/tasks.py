"""`/tasks`: what people are to do."""

from contracts import customers
from gateway.route import Route

ROUTES = (
    Route("GET", "/tasks", customers.LIST_TASKS),
    Route("POST", "/tasks", customers.CREATE_TASK, status=201),
    Route("GET", "/tasks/{id}", customers.GET_TASK),
    Route("PATCH", "/tasks/{id}", customers.CHANGE_TASK),
    Route("DELETE", "/tasks/{id}", customers.DELETE_TASK, status=204),
    Route("POST", "/tasks/{id}/complete", customers.COMPLETE_TASK),
    Route("POST", "/tasks/{id}/reopen", customers.REOPEN_TASK),
    Route("POST", "/tasks/{id}/cancel", customers.CANCEL_TASK),
)
