"""A depot of parcels: contracts, routes and answers that belong to no real service, to drive the gateway with."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from marshmallow import fields, validate
from werkzeug.test import TestResponse

from chassis.context import Subject
from contracts import errors
from contracts.operation import Operation, Permission
from contracts.schema import (
    ById,
    Empty,
    Identifier,
    Money,
    PageRequest,
    Record,
    Request,
    Sensitive,
    Text,
    Timestamp,
    dump,
    page_of,
)
from gateway.auth import Introspected
from gateway.calls import Calls
from gateway.route import Route

ID = "0193a8f2-6c1d-7e4b-9a52-3f8e1c7d2b90"
TOKEN = "hub_live_0193a8f2_abcdefghijklmnopqrstuvwxyz0123456789"
SIGNED_IN = {"Authorization": f"Bearer {TOKEN}"}
NOW = dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC)


class Parcel(Record):
    """A parcel."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    label = fields.String(required=True)
    worth = Money(allow_none=True)
    sent_at = Timestamp(allow_none=True)


class Line(Request):
    """One thing in a parcel."""

    sku = Text(required=True, least=1, most=20)
    quantity = fields.Integer(required=True, validate=validate.Range(min=1))


class CreateParcel(Request):
    """Packs a parcel."""

    label = Text(required=True, least=1, most=50)
    worth = Money(load_default=None, allow_none=True)
    fragile = fields.Boolean()
    weight_g = fields.Integer(validate=validate.Range(min=1))
    phone = Sensitive(allow_none=True)
    lines = fields.List(fields.Nested(Line))


class ParcelChanges(Request):
    """What may be changed."""

    label = Text(least=1, most=50)
    fragile = fields.Boolean()


class ChangeParcel(ById):
    """Changes a parcel."""

    expected_version = fields.Integer(required=True)
    changes = fields.Nested(ParcelChanges, required=True)


class SendParcel(ById):
    """Sends a parcel."""

    expected_version = fields.Integer(required=True)
    note = Text(load_default="")


class HoldParcel(ById):
    """Holds a parcel."""


class DropParcel(ById):
    """Throws a parcel away."""

    expected_version = fields.Integer(required=True)


class ListParcels(PageRequest):
    """Lists parcels."""

    label = fields.String()
    tags = fields.List(fields.String())
    sort = fields.String(load_default="label", validate=validate.OneOf(["label", "-label"]))


def _operation(name: str, request: type[Request], response: type[Record], **more: Any) -> Operation:
    return Operation("depot", name, request, response, Permission("parcel", "any"), **more)


CREATE = _operation("create_parcel", CreateParcel, Parcel, errors=(errors.AlreadyExists,))
ORDER = _operation("order_parcel", CreateParcel, Parcel)
GET = _operation("get_parcel", ById, Parcel, mutates=False)
LIST = _operation("list_parcels", ListParcels, page_of(Parcel), mutates=False)
CHANGE = _operation("change_parcel", ChangeParcel, Parcel)
SEND = _operation("send_parcel", SendParcel, Parcel)
HOLD = _operation("hold_parcel", HoldParcel, Parcel)
DROP = _operation("drop_parcel", DropParcel, Empty)
OPEN = _operation("open_door", CreateParcel, Parcel, internal=True, unsaved=True)

ROUTES = (
    Route("GET", "/parcels", LIST), Route("POST", "/parcels", CREATE, status=201),
    Route("GET", "/parcels/{id}", GET), Route("PATCH", "/parcels/{id}", CHANGE),
    Route("DELETE", "/parcels/{id}", DROP, status=204), Route("POST", "/parcels/{id}/send", SEND),
    Route("POST", "/parcels/{id}/hold", HOLD), Route("POST", "/parcel-orders", ORDER, status=201, key_required=True),
    Route("POST", "/doors", OPEN, public=True),
)


@dataclass(frozen=True)
class Answered:
    value: dict[str, Any]
    replayed: bool = False
    schema: type[Record] = Parcel

    @property
    def document(self) -> dict[str, Any]:
        return dump(self.schema, self.value)


def parcel(**more: Any) -> dict[str, Any]:
    return {"id": ID, "version": 3, "label": "books", "worth": None, "sent_at": NOW, **more}


@dataclass
class FakeServices:
    """Answers what a test laid ready, and remembers what it was asked."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[Operation, dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    def call(self, operation: Operation, request: dict[str, Any], **options: Any) -> Answered:
        self.asked.append((operation, request, options))
        answer = self.answers.get(operation.name, parcel())
        if isinstance(answer, BaseException):
            raise answer
        return replace(answer if isinstance(answer, Answered) else Answered(answer), schema=operation.response)

    @property
    def request(self) -> dict[str, Any]:
        """What was asked last."""
        return self.asked[-1][1]

    @property
    def options(self) -> dict[str, Any]:
        """With what it was asked last."""
        return self.asked[-1][2]


def knows_one(_caller: Calls, digest: str, _request_id: str) -> Introspected:
    """Know one credential."""
    if digest != hashlib.sha256(TOKEN.encode()).hexdigest():
        raise errors.Unauthenticated("no such credential")
    return Introspected(Subject("u1", "user", "Li Na"), 3600.0)


def problem_of(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Return the problem document of `answer`; it must be one, with this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.data)
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["type"] == f"/docs/problems#{code}"
    assert problem["instance"] == answer.headers["X-Request-Id"]
    return problem

