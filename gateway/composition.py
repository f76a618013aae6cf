"""A composition: one answer put together from what several services know, as plain data.

No service calls a service, so what belongs together on a screen is brought together here. The parts are asked at the
same time, each with a deadline of its own; what does not come is null in the answer and named in `missing`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from marshmallow import fields, missing

from chassis.context import Subject
from contracts.operation import Operation, Permission
from contracts.schema import Record, Request, dump, instance_of
from gateway.route import BASE_PATH

PART_S = 1.5
"""Seconds that one part may take."""
MOST_ITEMS = 20
"""Items of a section; the rest stands in the list that its `href` leads to."""


@dataclass(frozen=True)
class Asking:
    """What a part's request is made from.

    Attributes:
        request: of the composition, loaded.
        subject: who asks.
        now: the moment of the request, in the company's time zone.
    """

    request: Mapping[str, Any]
    subject: Subject
    now: dt.datetime

    @property
    def tomorrow(self) -> dt.datetime:
        """When the company's day ends. Not 24 hours after it began: a clock may be put forward or back in it."""
        return dt.datetime.combine(self.now.date() + dt.timedelta(days=1), dt.time.min, self.now.tzinfo)


Source = Callable[[Asking], Any]
"""Tells one value of a part's request."""


def given(name: str) -> Source:
    """Tell the composition's own request field `name`."""
    return lambda asking: asking.request[name]


def me(asking: Asking) -> str:
    """Tell the id of whoever asks."""
    return asking.subject.id


def now(asking: Asking) -> dt.datetime:
    """Tell the moment of the request."""
    return asking.now


def tomorrow(asking: Asking) -> dt.datetime:
    """Tell when the company's day ends."""
    return asking.tomorrow


def holds_all(permission: Permission) -> Source:
    """Tell whether whoever asks holds a right to every record of its entity, whosever it is."""
    return lambda asking: asking.subject.depth(permission.entity, permission.action) == "all"


@dataclass(frozen=True)
class Part:
    """What one service adds.

    Attributes:
        name: of the answer's field.
        operation: a read. A page of a list becomes a section, anything else stands as it is.
        asked: request field → value, or the source of one.
        path: of the route that answers the whole list, which every section leads to.
        unsaid: request fields that are not part of that route's query.
        on_behalf_of_gateway: asks an internal operation. The anchor must have let the subject in.
        within_s: seconds after which the answer goes without it.
    """

    name: str
    operation: Operation
    asked: Mapping[str, Any | Source] = field(default_factory=dict)
    path: str = ""
    unsaid: frozenset[str] = frozenset()
    on_behalf_of_gateway: bool = False
    within_s: float = PART_S

    def __post_init__(self) -> None:
        unknown = set(self.asked) - set(instance_of(self.operation.request).fields)
        if unknown or self.operation.mutates or self.operation.internal != self.on_behalf_of_gateway:
            raise ValueError(f"{self.name}: {self.operation.name} cannot be asked so {sorted(unknown)}")

    @property
    def is_section(self) -> bool:
        """Whether it is a page of a list."""
        return "next" in instance_of(self.operation.response).fields

    def request(self, asking: Asking) -> dict[str, Any]:
        """Return what the operation is asked, as its schema loads it."""
        said = {name: value(asking) if callable(value) else value for name, value in self.asked.items()}
        return _defaults(self.operation.request) | ({"limit": MOST_ITEMS} if self.is_section else {}) | said

    def href(self, asking: Asking) -> str:
        """Return the address of the whole list."""
        said = dump(self.operation.request, self.request(asking))
        path = self.path.format_map({name: quote(str(value)) for name, value in said.items()})
        query = {name: _in_query(said[name]) for name in self.asked
                 if name not in self.unsaid and f"{{{name}}}" not in self.path}
        return BASE_PATH + path + (f"?{urlencode(query)}" if query else "")


def _defaults(schema: type[Request]) -> dict[str, Any]:
    """Return the values of the request fields of which a caller says nothing."""
    declared = instance_of(schema).load_fields.items()
    return {name: one.load_default for name, one in declared if one.load_default is not missing}


def _in_query(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Fact:
    """What the gateway itself adds: a field of the answer and where its value comes from."""

    described: fields.Field[Any]
    value: Source


@dataclass(frozen=True, eq=False)
class Composition(Operation):
    """A read that the gateway answers itself, in the place of an operation: a route stands for it like for any other.

    Attributes:
        anchor: the record that everything is about. It is asked first, with the subject's own rights: out of reach is
            404, and nothing else is asked. Without it there is no answer.
        parts: asked together once the anchor has come.
        facts: what needs no asking.
    """

    anchor: Part | None = None
    parts: tuple[Part, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


class MissingPart(Record):
    """A part that did not come, and why: `forbidden` is a matter of rights, the rest of time."""

    part = fields.String(required=True, metadata={"description": "The field that is null."})
    code = fields.String(required=True, metadata={"description": "That of the problem its own route would answer."})
    message = fields.String(required=True)


def compose(name: str, request: type[Request], meaning: str, *, summary: str, parts: tuple[Part, ...],
            anchor: Part | None = None, facts: Mapping[str, Fact] | None = None) -> Composition:
    """Return a composition whose answer is described by what its parts answer.

    Args:
        name: in the document (`operationId`); the answer's schema is named after it.
        request: what is asked; its docstring stands in the document.
        meaning: of the answer, one sentence.
        summary: one line for the document.
        parts, anchor, facts: as in `Composition`.
    """
    known = facts or {}
    answer: dict[str, Any] = {name: fact.described for name, fact in known.items()}
    if anchor is not None:
        answer[anchor.name] = fields.Nested(anchor.operation.response, required=True)
    answer |= {part.name: fields.Nested(_answer_of(part), required=True, allow_none=True) for part in parts}
    answer["missing"] = fields.List(fields.Nested(MissingPart), required=True)
    title = "".join(word.capitalize() for word in name.removeprefix("get_").split("_"))
    response = type(title, (Record,), {"__doc__": meaning, **answer})
    permission = anchor.operation.permission if anchor is not None else None
    return Composition("gateway", name, request, response, permission, mutates=False, summary=summary, anchor=anchor,
                       parts=parts, facts=known)


def _answer_of(part: Part) -> type[Record]:
    if not part.is_section:
        return part.operation.response
    items = instance_of(part.operation.response).fields["items"]
    assert isinstance(items, fields.List)  # noqa: S101 (a page, by its `next`)
    assert isinstance(items.inner, fields.Nested)  # noqa: S101
    return section_of(type(items.inner.schema))


@cache
def section_of(record: type[Record]) -> type[Record]:
    """Return the schema of the first items of a list, and the way to the rest."""
    return type(f"{record.__name__}Section", (Record,), {
        "__doc__": f"The first of a list of {record.__name__}, at most {MOST_ITEMS}.",
        "items": fields.List(fields.Nested(record), required=True),
        "more": fields.Boolean(required=True, metadata={"description": "Whether the list goes on."}),
        "href": fields.String(required=True, metadata={"description": "Path of the whole list."}),
    })


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{name} is no IANA time zone, such as Asia/Shanghai") from error
