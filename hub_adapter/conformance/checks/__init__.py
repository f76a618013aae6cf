"""The checks that need a system, by what they are about."""
