"""What every service rolls on: configuration, database, messages, identity of the caller. It knows no business noun."""
