"""Users as data: the people who work with the hub, and what each sees and changes of oneself."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import fields, validate

from contracts.roles import rights
from contracts.schema import (
    ById,
    Identifier,
    OneOf,
    PageRequest,
    Record,
    Request,
    Sensitive,
    Text,
    Timestamp,
)

STATES = ("active", "disabled")


class Username(fields.String):
    """The name a person signs in with: lower case letters and digits of ASCII, `.`, `_`, `-`, `@`; 2 to 64 long.

    Capitals and full-width forms are accepted and folded.
    """

    def __init__(self, **kwargs: Any) -> None:
        shape = validate.Regexp(r"^[a-z0-9][a-z0-9._@-]{1,63}\Z", error="Use 2 to 64 of a-z, 0-9, '.', '_', '-', '@'.")
        super().__init__(validate=shape, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        return unicodedata.normalize("NFKC", str(text)).strip().lower()


class User(Record):
    """A person who works with the hub. `team_ids` begins with the home team: what the person creates belongs to it."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    username = fields.String(required=True)
    name = fields.String(required=True)
    email = Sensitive(allow_none=True)
    phone = Sensitive(allow_none=True)
    locale = fields.String(required=True)
    status = fields.String(required=True, validate=OneOf(*STATES))
    team_ids = fields.List(Identifier(), required=True)
    role_ids = fields.List(Identifier(), required=True)
    has_password = fields.Boolean(required=True)
    must_change_password = fields.Boolean(required=True)
    last_sign_in_at = Timestamp(allow_none=True)
    disabled_at = Timestamp(allow_none=True)
    created_at = Timestamp(required=True)
    created_by = fields.String(required=True)
    updated_at = Timestamp(required=True)


class _Profile(Request):
    email = Sensitive(allow_none=True, validate=validate.And(validate.Email(), validate.Length(max=254)))
    phone = Sensitive(allow_none=True, validate=validate.Regexp(r"^\+?[0-9 ()-]{5,25}\Z", error="Is no phone number."))
    locale = fields.String(validate=OneOf("zh-CN", "en"))
    team_ids = fields.List(Identifier(), validate=validate.Length(max=20))
    role_ids = fields.List(Identifier(), validate=validate.Length(max=20))


class CreateUser(_Profile):
    """Adds a person. They can sign in once `reset_password` has given them a first password."""

    username = Username(required=True)
    name = Text(required=True, least=1, most=120)


class UserChanges(_Profile):
    """What may be changed; a field left out stays as it is. Lists replace what was there."""

    username = Username()
    name = Text(least=1, most=120)


class ChangeUser(ById):
    """Changes a user who is still at `expected_version`."""

    expected_version = fields.Integer(required=True)
    changes = fields.Nested(UserChanges, required=True)


class ListUsers(PageRequest):
    """Lists users, newest first."""

    username = Username()
    email = Sensitive()
    status = fields.String(validate=OneOf(*STATES))
    team_id = Identifier()
    role_id = Identifier()


class DisableUser(ById):
    """Shuts a person out at once: sessions and API keys stop working; what they own stays theirs."""

    expected_version = fields.Integer()


class EnableUser(ById):
    """Lets a disabled person in again, with a new session; revoked API keys stay revoked."""

    expected_version = fields.Integer()


class ResetPassword(ById):
    """Gives a person a new random password that must be changed at the next sign-in, and ends all their sessions."""


class NewPassword(Record):
    """A password that is shown this once."""

    user_id = Identifier(required=True)
    password = Sensitive(required=True)


class GetMe(Request):
    """Who you are and what you may do, by the credential that asks."""


class Me(User):
    """The caller, with the rights that hold for this very call (an API key may be narrower than its owner)."""

    roles = fields.List(fields.String(), required=True)
    teams = fields.List(Identifier(), required=True)
    tree = fields.List(Identifier(), required=True)
    depths = rights(required=True)
    roles_version = fields.Integer(required=True)
    via = fields.String(required=True)


class ChangePassword(Request):
    """Sets a new password of one's own, and ends all other sessions."""

    current_password = Sensitive(required=True, validate=validate.Length(min=1, max=200))
    new_password = Sensitive(required=True, validate=validate.Length(min=1, max=200))
