"""Reads of the tickets service; each noun has its one predicate."""
