"""Doors of the integrations service, a file per noun; `service.py` opens them with its own."""
