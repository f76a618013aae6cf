"""Use cases of the tickets service: one function is one transaction, rows and announcements together."""
