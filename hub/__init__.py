"""The operator's command line: brings the hub up on one machine, looks after it, takes it down."""
