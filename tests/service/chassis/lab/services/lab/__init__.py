"""A room for tests of the chassis: it keeps notes and hears of things, and misbehaves as it is told."""
