"""The audit trail: who did, or was refused, what; a row in the effect's own transaction, chained and signed afterwards.

`trail` writes rows, `sealer` chains them, `verification` reads the chain again; `chain` is what the two agree on. The
tables are part of every service's database. docs/decisions/audit-trail.md says why it is so.
"""
