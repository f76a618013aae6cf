"""Use cases of the customers service: one function is one transaction, rows and announcements together."""
