"""Deliveries as data: the changes to bring to external systems, the calls made for each, and what comes next."""

from __future__ import annotations

from marshmallow import fields, validate

from contracts.schema import ById, Identifier, OneOf, PageRequest, Record, Text, Timestamp

STATES = ("pending", "leased", "retry_wait", "in_doubt", "blocked",
          "delivered", "skipped", "superseded", "dead", "cancelled")
REPLAY_MODES = ("current", "as_sent")


def _next_step() -> fields.Dict:
    return fields.Dict(keys=fields.String(), values=fields.String(), required=True, metadata={
        "description": "What happens next, or what to do, by language: `en`, `zh-CN`."})


class Delivery(Record):
    """One change to bring to one connection."""

    id = Identifier(required=True)
    connection_id = Identifier(required=True)
    entity = fields.String(required=True)
    local_id = fields.String(required=True)
    external_id = fields.String(allow_none=True)
    op = fields.String(required=True)
    state = fields.String(required=True, validate=OneOf(*STATES))
    source_event_id = fields.String(allow_none=True)
    source_version = fields.Integer(required=True)
    mapping_version = fields.Integer(allow_none=True)
    attempts = fields.Integer(required=True, metadata={
        "description": "Failures so far that count towards the last attempt; 0 when the first try succeeded."})
    deferrals = fields.Integer(required=True)
    due_at = Timestamp(required=True)
    deadline_at = Timestamp(allow_none=True)
    error_class = fields.String(allow_none=True)
    last_error = fields.String(allow_none=True)
    blocked_on = fields.String(allow_none=True)
    superseded_by = fields.String(allow_none=True)
    replay_of = fields.String(allow_none=True)
    replay_mode = fields.String(allow_none=True, validate=OneOf(*REPLAY_MODES), metadata={
        "description": "Of a replay: whether it brings the record as it is when it is sent, or what the other sent."})
    origin = fields.String(required=True)
    created_at = Timestamp(required=True)
    settled_at = Timestamp(allow_none=True)


class DeliveryRead(Delivery):
    """A delivery, and what comes next."""

    next_step = _next_step()


class ListDeliveries(PageRequest):
    """Lists deliveries, newest first."""

    connection_id = Identifier()
    state = fields.String(validate=OneOf(*STATES))
    entity = fields.String()
    local_id = fields.String(validate=validate.Length(max=64))
    error_class = fields.String(validate=validate.Length(max=40))
    created_from = Timestamp()
    created_to = Timestamp()


class RetryDelivery(ById):
    """Sends a dead delivery again, as a delivery of its own (`replay_of`): the record as it is now.

    With `payload` as `as_sent` it brings what the dead one sent last. Each is sent again once in either way, however
    often it is asked; should that one die too, it can be sent again in turn.
    """

    payload = fields.String(load_default="current", validate=OneOf(*REPLAY_MODES))
    reason = Text(load_default="", most=500)


class CancelDelivery(ById):
    """Calls off a delivery that still waits; nothing of it is sent. The next change of the record goes as ever."""

    reason = Text(load_default="", most=500)


class Attempt(Record):
    """One call for a delivery: what was asked, what came back, how long it took."""

    id = Identifier(required=True)
    delivery_id = Identifier(required=True)
    n = fields.Integer(required=True)
    action = fields.String(required=True)
    started_at = Timestamp(required=True)
    ended_at = Timestamp(allow_none=True)
    outcome = fields.String(allow_none=True)
    error_class = fields.String(allow_none=True)
    http_status = fields.Integer(allow_none=True)
    retry_after_s = fields.Float(allow_none=True)
    duration_ms = fields.Integer(allow_none=True)
    request_preview = fields.String(allow_none=True)
    response_preview = fields.String(allow_none=True)
    trace_id = fields.String(allow_none=True)


class ListAttempts(PageRequest):
    """Lists the attempts of one delivery, first to last."""

    id = Identifier(required=True)


class DeliveriesOfRecord(PageRequest):
    """Lists the deliveries of one record of the hub, newest first, for whoever has been let in to that record."""

    entity = fields.String(required=True, validate=validate.Length(min=1, max=40))
    local_id = fields.String(required=True, validate=validate.Length(max=64))
    previews = fields.Boolean(load_default=False)


class Fate(Record):
    """How a delivery stands, why, and what comes next."""

    id = Identifier(required=True)
    state = fields.String(required=True, validate=OneOf(*STATES))
    error_class = fields.String(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)
    next_step = _next_step()


class Awaited(Fate):
    """The latest delivery of the record that another one needs there first."""

    entity = fields.String(required=True)
    local_id = fields.String(required=True)


class DeliveryTold(Fate):
    """One change that was, or is, to be brought to another system.

    `needs` is the record without which it cannot go, if that is what keeps it. `tries` are its calls, the latest last,
    at most 20; what they sent and got shows by the right `delivery:read` alone.
    """

    connection_id = Identifier(required=True)
    connection = fields.String(required=True)
    op = fields.String(required=True)
    needs = fields.Nested(Awaited, required=True, allow_none=True)
    due_at = Timestamp(required=True)
    created_at = Timestamp(required=True)
    settled_at = Timestamp(required=True, allow_none=True)
    tries = fields.List(fields.Nested(Attempt), required=True)


class DeliverySettled(Record):
    """A delivery has come to its end."""

    delivery_id = Identifier(required=True)
    connection_id = Identifier(required=True)
    connection = fields.String(required=True)
    entity = fields.String(required=True)
    local_id = fields.String(required=True)
    source_version = fields.Integer(required=True)
    external_id = fields.String(allow_none=True)
    state = fields.String(required=True)
    error_class = fields.String(allow_none=True)
    error = fields.String(allow_none=True)
