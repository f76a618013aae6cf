"""Reads of the sales service; each noun has its one predicate."""
