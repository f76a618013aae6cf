"""Carries every change to the company's other systems, and theirs back: once each, in order, and accounted for.

Owns: connections, credentials, routes, its own sealed copy of every record that travels, bindings (our id ↔ theirs),
deliveries and their attempts. Listens to the facts named in `routing.py`. Says `external.changed` (what a target told),
`delivery.settled` and `connection.health_changed`.
"""
