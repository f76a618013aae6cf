"""Protocols that more than one adapter speaks, below all of them: adapters stay independent of each other."""
