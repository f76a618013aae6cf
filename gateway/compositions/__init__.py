"""What the gateway puts together: a file per composition, each of them data that `gateway.gathering` serves."""
