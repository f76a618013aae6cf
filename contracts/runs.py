"""Runs as data: work of the integrations service over all records of an entity on one connection, and what it finds.

States. A run is `pending` → `running` → `completed`, `failed` or `cancelled`. One that asks a person is
`awaiting_approval` in between, and goes on once the number of what it will do has been confirmed. At most one of a kind
is unfinished per connection and entity.
"""

from __future__ import annotations

from marshmallow import fields, validate

from contracts.schema import ById, Identifier, OneOf, PageRequest, Record, Request, SensitiveObject, Text, Timestamp

KINDS = ("match", "backfill", "reconcile", "replay", "dry_run")
STATES = ("pending", "running", "awaiting_approval", "completed", "failed", "cancelled")
FINDING_KINDS = ("certain", "doubtful", "new",
                 "missing_remote", "missing_local", "mismatch", "duplicate_remote", "stale_binding",
                 "create", "update", "withdraw", "drifted", "refused", "unknown", "outdated")
FINDING_STATES = ("open", "decided", "done", "skipped")
DECISIONS = ("link", "create", "ignore", "repair", "adopt", "quarantine", "report")


class Run(Record):
    """One run: what it is over, how far it has come, what it counts.

    `counts.seen` are the records it has looked at, of `total`. `to_confirm` is the number that `approve` wants.
    """

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    connection_id = Identifier(required=True)
    entity = fields.String(required=True)
    kind = fields.String(required=True, validate=OneOf(*KINDS))
    state = fields.String(required=True, validate=OneOf(*STATES))
    phase = fields.String(required=True, allow_none=True)
    filter = fields.Dict(required=True)
    options = fields.Dict(required=True)
    counts = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    total = fields.Integer(required=True, allow_none=True)
    percent = fields.Float(required=True, allow_none=True)
    seconds_left = fields.Integer(required=True, allow_none=True)
    to_confirm = fields.Integer(required=True, allow_none=True)
    reason = fields.String(required=True)
    created_by = fields.String(required=True)
    approved_by = fields.String(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)
    next_run_at = Timestamp(required=True, allow_none=True)
    created_at = Timestamp(required=True)
    started_at = Timestamp(required=True, allow_none=True)
    ended_at = Timestamp(required=True, allow_none=True)


class StartRun(Request):
    """Starts a run over an entity of the connection at the path; it goes on in the background.

    `filter` and `options` depend on the kind. Only one of a kind is unfinished per connection and entity.
    """

    connection_id = Identifier(required=True)
    kind = fields.String(required=True, validate=OneOf(*KINDS))
    entity = fields.String(required=True, validate=validate.Length(min=1, max=40))
    filter = fields.Dict(load_default=dict)
    options = fields.Dict(load_default=dict)
    reason = Text(load_default="", most=500)


class ListRuns(PageRequest):
    """Lists runs, newest first."""

    connection_id = Identifier()
    kind = fields.String(validate=OneOf(*KINDS))
    state = fields.String(validate=OneOf(*STATES))


class Finding(Record):
    """One thing that a run found.

    `detail` holds values of both sides; without the right `unmask` to all records of the run's entity, those that are
    masked in such records are masked here, and what a mapping makes of sensitive fields (their names there are under
    `sensitive` in it) is hidden whole. `fields` are the names of those that differ.
    `detail.reason`, where there is one, says by language (`en`, `zh-CN`) why it is refused, or was not carried out.
    """

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    run_id = Identifier(required=True)
    kind = fields.String(required=True, validate=OneOf(*FINDING_KINDS))
    local_id = fields.String(required=True, allow_none=True)
    external_id = fields.String(required=True, allow_none=True)
    candidates = fields.List(fields.String(), required=True)
    detail = SensitiveObject(required=True, allow_none=True)
    decision = fields.String(required=True, allow_none=True, validate=OneOf(*DECISIONS))
    state = fields.String(required=True, validate=OneOf(*FINDING_STATES))
    decided_by = fields.String(required=True, allow_none=True)
    created_at = Timestamp(required=True)
    # Last, for the name hides the module of the field types; marshmallow keeps it apart from its own attribute.
    fields = fields.List(fields.String(), required=True)  # type: ignore[assignment]


class ListFindings(PageRequest):
    """Lists what a run has found, in the order it was found."""

    id = Identifier(required=True)
    kind = fields.String(validate=OneOf(*FINDING_KINDS))
    state = fields.String(validate=OneOf(*FINDING_STATES))


class DecideFinding(ById):
    """Says what is to be done about a finding that is still at `expected_version`; approving its run has it done."""

    finding_id = Identifier(required=True)
    expected_version = fields.Integer(required=True)
    decision = fields.String(required=True, validate=OneOf(*DECISIONS))
    external_id = fields.String(allow_none=True, load_default=None, validate=validate.Length(max=200), metadata={
        "description": "With `link`: which of the `candidates`; may be left out where there is one."})


class ApproveRun(ById):
    """Has a run that awaits approval go on. `count` is its `to_confirm`; has that changed meanwhile, it is refused."""

    count = fields.Integer(required=True, strict=True, validate=validate.Range(min=0))


class CancelRun(ById):
    """Ends a run where it is; what it has done already stays done."""
