"""The sync engine's moving parts: they call targets between transactions, and a restart misses nothing of them."""
