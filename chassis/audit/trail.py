"""Writing the audit trail: a row in the transaction of its effect, so that there is neither without the other.

An operation whose contract says `audited` is written down by its door. What is done past the doors, and what happens
between two services' words (a sign-in), calls `record` itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Self

import rfc8785
from marshmallow import Schema, fields
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.audit.tables import AUDIT_ENTRY
from chassis.context import Subject
from chassis.database import after_commit, new_id, utcnow
from contracts.operation import Operation
from contracts.schema import Sensitive, SensitiveObject, instance_of

Outcome = Literal["done", "denied"]

SEALED: Mapping[str, bool] = {"sealed": True}
"""What the trail says of a value that the hub keeps as ciphertext: that there was one."""

SEALER = "sealer"
"""The key of a database's `info` under which the sealer of this process is found, to be told of each entry."""
_BEFORE = "audit_before"
_EXACT = 2**53 - 1
_INSERT = AUDIT_ENTRY.insert()


def instant(at: dt.datetime) -> str:
    """Return an instant as the trail keeps it: UTC, RFC 3339, always with microseconds."""
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def record(
    session: Session, action: str, *, by: Subject | None, entity: str = "", record_id: str = "",
    outcome: Outcome = "done", details: Mapping[str, Any] | None = None, request_id: str = "",
) -> None:
    """Write down what happens in the transaction of `session`; one statement.

    Args:
        session: the transaction of the effect.
        action: the operation, with its service: `identity.sign_in`.
        by: on whose behalf; None if nobody knows.
        entity: the kind of record that it happened to.
        record_id: which.
        outcome: whether it was done, or refused for want of a right or a password.
        details: what else an auditor asks; never a value that the hub keeps as ciphertext.
        request_id: of the call; that of the call at hand by default.
    """
    session.connection().execute(_INSERT, {
        "id": new_id(), "at": instant(utcnow()), "action": action, "outcome": outcome, "entity": entity,
        "record_id": _shown(record_id, 80), "actor_id": _shown(by.id if by else "", 80),
        "actor_kind": by.kind if by else "unknown", "via": _shown(by.via if by else "", 80),
        "request_id": _shown(request_id or telemetry.current("request_id"), 200),
        "details": rfc8785.dumps(_plain(details or {})).decode(),
    })
    if SEALER in session.info:
        after_commit(session, session.info[SEALER].wake)


def before(session: Session, **values: Any) -> None:
    """Tell what a record was, for the entry that its operation's door will write in this transaction."""
    session.info.setdefault(_BEFORE, {}).update(values)


@dataclass(frozen=True)
class Asked:
    """What an audited operation was asked, as it was before anything was done with it."""

    operation: Operation
    by: Subject
    request_id: str
    record_id: str
    request: Mapping[str, Any]

    @classmethod
    def of(cls, operation: Operation, request: Mapping[str, Any], by: Subject, request_id: str) -> Self | None:
        """Return it, without values of sealed fields; None if the operation is not audited."""
        if not operation.audited:
            return None
        told = _plain(redacted(instance_of(operation.request), request))
        return cls(operation, by, request_id, str(request.get("id") or ""), told)

    def done(self, session: Session, answer: Mapping[str, Any]) -> None:
        """Write down, in the transaction of the effect, that it was done, if it had one."""
        was = session.info.pop(_BEFORE, None)
        record(session, self.operation.routing_key, by=self.by, entity=self.operation.audited,
               record_id=self.record_id or str(answer.get("id") or ""), request_id=self.request_id,
               details={"asked": self.request} | ({"before": was} if was else {}))


def redacted(schema: Schema, loaded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a loaded request with `SEALED` in the place of every value that travels and is kept as ciphertext."""
    known: Mapping[str, fields.Field[Any]] = schema.fields
    return {name: _of_field(known.get(name), value) for name, value in loaded.items()}


def _of_field(field: fields.Field[Any] | None, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(field, Sensitive | SensitiveObject):
        return SEALED
    if isinstance(field, fields.Nested):
        below = field.schema
        return [redacted(below, each) for each in value] if field.many else redacted(below, value)
    if isinstance(field, fields.List):
        return [_of_field(field.inner, each) for each in value]
    if isinstance(field, fields.Dict) and field.value_field is not None:
        return {name: _of_field(field.value_field, each) for name, each in value.items()}
    return value


def _plain(value: Any) -> Any:
    """Return `value` as canonical JSON can tell it: exact numbers, no halves of characters."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {_whole(str(name)): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, dt.datetime):
        return instant(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int | float) and -_EXACT <= value <= _EXACT:
        return value
    return _whole(str(value))


def _whole(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _shown(text: str, most: int) -> str:
    """Return text as both databases keep it: PostgreSQL takes no NUL."""
    return _whole(text).replace("\x00", "\\x00")[:most]
