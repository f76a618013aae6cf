"""The one place where answers are masked: whoever may read a record sees its sensitive values only with `unmask`.

A contract says which fields have a mask (`Sensitive(mask=...)`) and of which entity their record is (`masked_as`). The
right is a permission like any other, `<entity>:unmask` at a depth, so it is granted, merged, narrowed in an API key and
announced as they are. It holds for every answer of every operation: get, list, search, what a change answers, a replay.

Whose `unmask` reaches as deep as every other right to such records sees each of them as it is. Otherwise a record is
within reach by its own `owner_id` and `team_id`, and where these do not say so its service is asked (`Discerns`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from marshmallow import Schema, fields

from chassis.access import covers
from chassis.context import Subject
from contracts.depth import ANY, narrowest, widest
from contracts.errors import Forbidden, Invalid
from contracts.operation import UNMASK, Permission
from contracts.schema import Record, Sensitive, instance_of

Packed = Mapping[str, Any]
Discerns = Callable[[Collection[str]], Collection[str]]
"""Returns those of some ids whose records the subject may see unmasked; asked only where it takes a look."""


@dataclass(frozen=True)
class Seen:
    """An answer as its subject may see it.

    Attributes:
        answer: packed. The original is never changed: an event or a kept answer may be the same object.
        entity: of the records that have sensitive values; empty where the answer holds none such.
        revealed: ids of the records whose sensitive values are in the answer in clear, for whoever keeps account.
    """

    answer: Packed
    entity: str = ""
    revealed: tuple[str, ...] = ()


def seen(schema: type[Record], answer: Packed, subject: Subject, discerns: Discerns | None = None) -> Seen:
    """Return a packed answer with a mask over every sensitive value that the subject may not see.

    Args:
        schema: of the answer: a record, or a page of them.
        answer: packed.
        subject: who asks.
        discerns: for records that have no owner of their own; without it none of them is within a partial reach.
    """
    veil = _veil(schema)
    if veil is None:
        page = _page(schema)
        if page is None:
            return Seen(answer)
        items, revealed = _looked_at(page, answer["items"], subject, discerns)
        return Seen({**answer, "items": items}, page.entity, revealed)
    (record,), revealed = _looked_at(veil, [answer], subject, discerns)
    return Seen(record, veil.entity, revealed)


def require_sight(subject: Subject, entity: str) -> None:
    """Refuse to search by a value that is masked for the subject: it could be guessed that way.

    Raises:
        Forbidden: the subject may not see it in any record.
    """
    if subject.depth(entity, UNMASK) == "none":
        raise Forbidden(f"{subject.name} may not {UNMASK} records of the kind {entity}", entity=entity, action=UNMASK)


def refuse_hidden(subject: Subject, schema: type[Record], changes: Mapping[str, Any], *, owner: str | None,
                  team: str | None) -> None:
    """Refuse to change a value that is masked for the subject: to write is more than to read.

    Args:
        subject: who changes.
        schema: the record's.
        changes: field → value.
        owner: whose record it is.
        team: and of which team.

    Raises:
        Invalid: names every such field.
    """
    veil = _veil(schema)
    hidden = [name for name in changes if veil is not None and name in veil.names]
    if veil is None or not hidden or veil.lifted_for(subject) or covers(subject, veil.right, owner=owner, team=team):
        return
    raise Invalid("The request holds values that were refused", errors=[
        {"pointer": f"/{name}", "code": "masked", "message": "You may not change what you may not see."}
        for name in hidden])


@dataclass(frozen=True)
class _Veil:
    """What of a record is masked: fields of its own, and records inside it of which something is."""

    entity: str
    found_by: str
    own: tuple[tuple[str, Sensitive], ...]
    inside: tuple[tuple[str, _Veil], ...]

    @property
    def right(self) -> Permission:
        return Permission(self.entity, UNMASK)

    def lifted_for(self, subject: Subject) -> bool:
        """Tell whether all that the subject comes upon is within its right to unmask: no other right goes deeper."""
        depth = subject.depth(self.entity, UNMASK)
        deepest = widest(other for entity in (self.found_by, ANY)
                         for action, other in subject.depths.get(entity, {}).items() if action != UNMASK)
        return depth != "none" and narrowest(depth, deepest) == deepest

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for name, _ in (*self.own, *self.inside))

    def over(self, record: Packed) -> dict[str, Any]:
        """Return the record with its masks on; what is empty stays empty."""
        veiled = dict(record)
        for name, field in self.own:
            if veiled.get(name):
                veiled[name] = field.masked(veiled[name])
        for name, inner in self.inside:
            if veiled.get(name):
                veiled[name] = inner.over(veiled[name])
        return veiled

    def shows(self, record: Packed) -> bool:
        """Tell whether the record holds any value that a mask would be over."""
        return any(record.get(name) for name, _ in self.own) or any(
            record.get(name) and inner.shows(record[name]) for name, inner in self.inside)


@cache
def _veil(schema: type[Schema]) -> _Veil | None:
    """Return the veil of a record that is masked as some entity."""
    if not getattr(schema, "masked_as", ""):
        return None
    entity: str = schema.masked_as  # type: ignore[attr-defined]
    return _of_record(schema, entity, schema.reached_through or entity)  # type: ignore[attr-defined]


def _of_record(schema: type[Schema], entity: str, found_by: str) -> _Veil:
    declared = instance_of(schema).dump_fields
    nested = ((name, _of_record(type(field.schema), entity, found_by)) for name, field in declared.items()
              if isinstance(field, fields.Nested) and not field.many)
    return _Veil(
        entity, found_by,
        tuple((name, field) for name, field in declared.items() if isinstance(field, Sensitive) and field.mask),
        tuple((name, veil) for name, veil in nested if veil.names))


@cache
def _page(schema: type[Schema]) -> _Veil | None:
    """Return the veil of the records of a page."""
    items = instance_of(schema).dump_fields.get("items")
    inner = items.inner if isinstance(items, fields.List) else None
    return _veil(type(inner.schema)) if isinstance(inner, fields.Nested) else None


def _looked_at(veil: _Veil, records: Sequence[Packed], subject: Subject,
               discerns: Discerns | None) -> tuple[list[Packed], tuple[str, ...]]:
    """Return the records as the subject sees them, and the ids of those that it sees in clear."""
    clear = _within_reach(veil, records, subject, discerns)
    looked = [record if sees else veil.over(record) for record, sees in zip(records, clear, strict=True)]
    return looked, tuple(str(record["id"]) for record, sees in zip(records, clear, strict=True)
                         if sees and veil.shows(record))


def _within_reach(veil: _Veil, records: Sequence[Packed], subject: Subject, discerns: Discerns | None) -> list[bool]:
    depth = subject.depth(veil.entity, UNMASK)
    if depth in ("none", "all") or veil.lifted_for(subject):
        return [depth != "none"] * len(records)
    own = {record["id"] for record in records
           if covers(subject, veil.right, owner=record.get("owner_id"), team=record.get("team_id"))}
    open_to_doubt = [record["id"] for record in records if record["id"] not in own]
    own |= set(discerns(open_to_doubt)) if discerns and open_to_doubt else set()
    return [record["id"] in own for record in records]
