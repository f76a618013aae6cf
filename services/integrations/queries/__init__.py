"""What this service looks up; nothing here changes anything."""
