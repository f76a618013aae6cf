"""The sync engine's moving parts: they call targets between transactions, and keep nothing that a restart would miss."""
