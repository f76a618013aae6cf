"""`hub demo`: one real order in a real ERP, through the gateway alone, read back from the ERP over its own API."""
