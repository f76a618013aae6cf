"""Credentials as data: API keys and sessions, how a person comes in, and whom a credential stands for."""

from __future__ import annotations

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

SIGN_IN_OUTCOMES = ("signed_in", "wrong_password", "unknown_user", "disabled")

API_KEY_PREFIX = "hub_live_"
SESSION_PREFIX = "hub_session_"
"""A bearer credential begins with one of these, so that secret scanners and the gateway know it on sight."""


class ApiKey(Record):
    """A program's way in, on behalf of its owner and never with more rights than the owner has at that moment."""

    id = Identifier(required=True)
    name = fields.String(required=True)
    owner_id = Identifier(required=True)
    prefix = fields.String(required=True)
    scopes = rights(required=True, allow_none=True)
    expires_at = Timestamp(required=True)
    last_used_at = Timestamp(allow_none=True)
    revoked_at = Timestamp(allow_none=True)
    created_at = Timestamp(required=True)
    created_by = fields.String(required=True)


class NewApiKey(ApiKey):
    """An API key with its secret, which is shown this once."""

    key = Sensitive(required=True)


class CreateApiKey(Request):
    """Makes an API key. Without `scopes` it may do all that its owner may."""

    name = Text(required=True, least=1, most=120)
    owner_id = Identifier()
    scopes = rights(load_default=None, allow_none=True)
    expires_at = Timestamp()


class ListApiKeys(PageRequest):
    """Lists API keys, newest first: one's own, and others' as far as the caller may read them."""

    owner_id = Identifier()


class RevokeApiKey(ById):
    """Ends an API key at once."""


class Session(Record):
    """A person signed in on one device."""

    id = Identifier(required=True)
    user_id = Identifier(required=True)
    source = fields.String(required=True)
    user_agent = fields.String(required=True)
    created_at = Timestamp(required=True)
    last_seen_at = Timestamp(required=True)
    idle_expires_at = Timestamp(required=True)
    expires_at = Timestamp(required=True)
    revoked_at = Timestamp(allow_none=True)


class SignIn(Request):
    """Opens a session with user name and password; the gateway names the device."""

    username = fields.String(required=True, validate=validate.Length(min=1, max=200))
    password = Sensitive(required=True, validate=validate.Length(min=1, max=200))
    source = fields.String(required=True, validate=validate.Length(min=1, max=64))
    user_agent = fields.String(load_default="", validate=validate.Length(max=1000))


class SignedIn(Record):
    """A new session and its bearer token, which is shown this once."""

    token = Sensitive(required=True)
    session = fields.Nested(Session, required=True)
    must_change_password = fields.Boolean(required=True)


class ListSessions(PageRequest):
    """Lists open sessions, newest first: one's own, and others' as far as the caller may read them."""

    user_id = Identifier()


class RevokeSession(ById):
    """Ends a session at once. One's own can always be ended: this is signing out."""


class LoginEvent(Record):
    """One attempt to sign in, and what became of it."""

    id = Identifier(required=True)
    user_id = Identifier(required=True, allow_none=True)
    outcome = fields.String(required=True, validate=OneOf(*SIGN_IN_OUTCOMES))
    source = fields.String(required=True)
    user_agent = fields.String(required=True)
    at = Timestamp(required=True)


class ListLoginEvents(PageRequest):
    """Lists attempts to sign in, newest first: one's own, and others' as far as the caller may read their sessions."""

    user_id = Identifier()
    outcome = fields.String(validate=OneOf(*SIGN_IN_OUTCOMES))


class Introspect(Request):
    """Asks whose credential has this SHA-256 (64 hexadecimal digits); the credential itself never travels."""

    credential_sha256 = fields.String(required=True, validate=validate.Regexp(r"^[0-9a-f]{64}\Z"))


class Claims(Record):
    """The subject behind a credential, as the gateway signs it into a call's token.

    `expires_at` is when the credential itself ends: nothing may be cached beyond it. With `must_change_password` the
    `depths` are empty: the session is good for a new password and for signing out.
    """

    id = Identifier(required=True)
    kind = fields.String(required=True, validate=OneOf("user", "api_key"))
    name = fields.String(required=True)
    teams = fields.List(Identifier(), required=True)
    tree = fields.List(Identifier(), required=True)
    depths = rights(required=True)
    roles_version = fields.Integer(required=True)
    via = Identifier(required=True)
    expires_at = Timestamp(required=True)
    must_change_password = fields.Boolean(load_default=False)
