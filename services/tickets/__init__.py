"""Tickets: what customers ask, and who answers it.

Owns tickets, their messages and trail, and the queues that give them out. Says `ticket.created`, `ticket.updated`,
`ticket.assigned`, `ticket.replied`, `ticket.resolved`, `ticket.reopened`, `ticket.closed`, `ticket.snapshot` and, to
have something done, `task.requested`. Listens to customers (`customer.created`, `customer.updated`,
`customer.snapshot`) for its small copy of them.
"""
