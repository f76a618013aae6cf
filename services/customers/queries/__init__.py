"""Reads of the customers service; each noun has its one predicate."""
