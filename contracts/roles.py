"""Roles as data: bundles of rights, which users are given."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from contracts.depth import DEPTHS
from contracts.schema import (
    ById,
    Entries,
    Identifier,
    OneOf,
    PageRequest,
    Record,
    Request,
    Text,
    Timestamp,
)

_NAME = validate.Regexp(r"^[a-z][a-z0-9_-]{1,39}\Z", error="Use 2 to 40 of a-z, 0-9, '_', '-'.")


def rights(**kwargs: Any) -> Entries:
    """Return a field of entity → action → depth."""
    word = validate.Regexp(r"^(\*|[a-z][a-z_]{0,39})\Z", error="Is not the name of an entity or action, nor '*'.")
    actions = Entries(
        keys=fields.String(validate=word),
        values=fields.String(validate=OneOf(*DEPTHS)),
        validate=validate.Length(max=60),
    )
    return Entries(keys=fields.String(validate=word), values=actions, validate=validate.Length(max=100), **kwargs)


class Role(Record):
    """A bundle of rights: entity → action → depth. Roles only add up; none takes away what another gives."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    name = fields.String(required=True)
    title = fields.String(required=True)
    built_in = fields.Boolean(required=True)
    depths = rights(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class CreateRole(Request):
    """Adds a role. Nobody can put more into a role than they may do themselves."""

    name = fields.String(required=True, validate=_NAME)
    title = Text(required=True, least=1, most=120)
    depths = rights(required=True)


class RoleChanges(Request):
    """What may be changed; `depths` replaces what was there."""

    title = Text(least=1, most=120)
    depths = rights()


class ChangeRole(ById):
    """Changes a role that is still at `expected_version`; the role admin is fixed."""

    expected_version = fields.Integer(required=True)
    changes = fields.Nested(RoleChanges, required=True)


class DeleteRole(ById):
    """Removes a role that nobody holds; built-in roles stay."""

    expected_version = fields.Integer(required=True)


class ListRoles(PageRequest):
    """Lists roles, newest first."""

    name = fields.String(validate=_NAME)
