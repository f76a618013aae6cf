"""Pure rules of tickets: the states of a ticket, and to whom a queue gives the next one."""
