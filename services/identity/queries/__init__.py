"""Reads of identity, each through the one predicate."""
