"""A route: one method on one path that stands for one operation, as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from marshmallow import Schema, fields

from contracts.operation import Operation
from contracts.schema import PageRequest

BASE_PATH = "/api/v1"

_PATH = re.compile(r"/[a-z][a-z0-9-]*(/([a-z][a-z0-9-]*|\{[a-z_]+\}))*")
_ARGUMENT = re.compile(r"\{([a-z_]+)\}")
_VERSION = "expected_version"
_CHANGES = "changes"

Body = Literal["none", "optional", "required"]
Told = Literal["address", "user_agent", "headers"]


@dataclass(frozen=True, eq=False)
class Route:
    """How HTTP reaches one operation. What the operation's request schema says already is not said again.

    A path argument fills the request field of its name, `If-Match` fills `expected_version`. What is left comes from
    the query of a GET, else from the body; a body of an operation with the field `changes` is those changes.

    Attributes:
        method: GET, POST, PUT, PATCH or DELETE.
        path: below `/api/v1`, kebab-case, with `{arguments}`.
        operation: what is asked of which service.
        status: of success. 201 adds `Location`, 204 has no body.
        path_args: path argument → request field, where the names differ.
        told: request field → what the gateway itself says of the client: its `address`, `user_agent` or `headers`.
        raw: request field that takes the whole body as it came, in base64; it need not be JSON.
        location: path of what was created, as a format of the answer; by default the route's own path and `/{id}`.
        key_required: whether an `Idempotency-Key` must be sent. Every other change accepts one.
        etag: whether the answer's `version` is that of the resource at the path, and so makes an `ETag`.
        name: in the document (`operationId`), where one operation has two routes; else the operation's own.
        public: whether it is asked without a credential, such as logging in.
        before_password_change: whether it is open to a session whose password must be changed first.
        tag: group in the document; by default the first step of the path.
    """

    method: str
    path: str
    operation: Operation
    status: int = 200
    path_args: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, Told] = field(default_factory=dict)
    raw: str = ""
    location: str = ""
    key_required: bool = False
    etag: bool = True
    public: bool = False
    before_password_change: bool = False
    tag: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"{self.path}: a path is kebab-case with {{arguments}} in snake_case")
        unknown = {*self.fields_of_path.values(), *self.told} - set(self.request_fields)
        if unknown:
            raise ValueError(f"{self.method} {self.path}: {self.operation.name} has no field {sorted(unknown)}")

    @cached_property
    def request_schema(self) -> Schema:
        """The operation's request; made once, for making it costs more than loading with it."""
        return self.operation.request()

    @cached_property
    def request_fields(self) -> dict[str, fields.Field[Any]]:
        """The fields of the operation's request, by the names that travel."""
        return {declared.data_key or name: declared for name, declared in self.request_schema.fields.items()}

    @cached_property
    def answer_fields(self) -> dict[str, fields.Field[Any]]:
        """The fields of one record that the operation answers; of an item where it answers a page."""
        answer = self.operation.response().fields
        if self.is_page:
            items = answer["items"]
            if isinstance(items, fields.List) and isinstance(items.inner, fields.Nested):
                return dict(items.inner.schema.fields)
        return dict(answer)

    @cached_property
    def fields_of_path(self) -> dict[str, str]:
        """Path argument → request field."""
        return {name: self.path_args.get(name, name) for name in _ARGUMENT.findall(self.path)}

    @property
    def is_page(self) -> bool:
        """Whether it answers one page of a list."""
        return issubclass(self.operation.request, PageRequest)

    @property
    def reads(self) -> bool:
        """Whether it is a GET, which HEAD may ask as well."""
        return self.method == "GET"

    @property
    def needs_version(self) -> bool:
        """Whether `If-Match` must say which version is changed."""
        return self.takes_version and self.request_fields[_VERSION].required

    @property
    def takes_version(self) -> bool:
        """Whether `If-Match` may say which version is changed."""
        return _VERSION in self.request_fields

    @property
    def takes_changes(self) -> bool:
        """Whether the body is the operation's `changes`."""
        return _CHANGES in self.request_fields

    @cached_property
    def free_fields(self) -> dict[str, fields.Field[Any]]:
        """Request fields that neither the path nor `If-Match` fills: the query of a GET, else the body."""
        taken = {*self.fields_of_path.values(), *self.told, self.raw, _VERSION}
        return {name: declared for name, declared in self.request_fields.items() if name not in taken}

    @cached_property
    def body(self) -> Body:
        """Whether a body is read: `optional` when every field of it has a default."""
        if self.reads or not self.free_fields:
            return "none"
        return "required" if any(declared.required for declared in self.free_fields.values()) else "optional"

    @property
    def takes_key(self) -> bool:
        """Whether an `Idempotency-Key` has a meaning: every request that changes something on somebody's behalf.

        A PATCH too: without a key, repeating one whose answer was lost meets its own change as a stale version (412).
        """
        return self.operation.mutates and not self.public

    @property
    def tag_name(self) -> str:
        """The group in the document."""
        return self.tag or self.path.split("/")[1]

    @property
    def template(self) -> str:
        """The whole path, `/api/v1` included."""
        return BASE_PATH + self.path
