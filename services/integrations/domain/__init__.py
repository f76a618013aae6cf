"""The rules of the sync engine, free of databases, clocks and networks: time and chance are given, never taken."""
