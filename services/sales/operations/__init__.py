"""Use cases of the sales service: one function is one transaction, rows and announcements together."""
