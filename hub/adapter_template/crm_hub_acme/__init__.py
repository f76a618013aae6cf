"""Acme: customers go there."""
