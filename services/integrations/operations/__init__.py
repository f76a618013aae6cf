"""What this service does: one function = one use case = one transaction."""
