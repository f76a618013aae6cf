"""Use cases of identity: one function, one transaction, its rows and its events."""
