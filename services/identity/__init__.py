"""Identity: who is who, what each may do, and whose credential this is.

Owns users, the tree of teams, roles, API keys, sessions and the record of sign-ins. Says `identity.access.changed`
whenever somebody's rights are no longer what they were, and `identity.user.disabled`. Listens to nobody.
"""
