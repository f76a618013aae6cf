"""`hub demo`: every job of the hub, both ways, through the gateway alone, and read back from the targets themselves."""
