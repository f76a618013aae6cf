"""`/tickets` and `/ticket-counts`: what customers ask, what is said about it, and who answers."""

from contracts import tickets
from gateway.route import Route

ROUTES = (
    Route("GET", "/tickets", tickets.LIST_TICKETS),
    Route("POST", "/tickets", tickets.CREATE_TICKET, status=201),
    Route("GET", "/ticket-counts", tickets.COUNT_TICKETS, tag="tickets"),
    Route("GET", "/tickets/{id}", tickets.GET_TICKET),
    Route("PATCH", "/tickets/{id}", tickets.CHANGE_TICKET),
    Route("POST", "/tickets/{id}/assign", tickets.ASSIGN_TICKET),
    Route("POST", "/tickets/{id}/claim", tickets.CLAIM_TICKET),
    Route("POST", "/tickets/{id}/status", tickets.SET_TICKET_STATUS),
    Route("GET", "/tickets/{id}/messages", tickets.LIST_MESSAGES),
    Route("POST", "/tickets/{id}/messages", tickets.ADD_MESSAGE, status=201),
    Route("GET", "/tickets/{id}/messages/{message_id}", tickets.GET_MESSAGE),
    Route("GET", "/tickets/{id}/trail", tickets.LIST_TRAIL),
    # What is wanted becomes a task a moment later: GET /tasks?subject_entity=ticket&subject_id={id}.
    Route("POST", "/tickets/{id}/tasks", tickets.REQUEST_TASK, status=202),
)
