"""What the identity service is asked, answers and announces: who is who, and what each may do."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from marshmallow import fields, validate

from contracts import errors
from contracts.depth import DEPTHS
from contracts.event import EventType
from contracts.operation import Operation, Permission
from contracts.schema import (
    ById,
    Empty,
    Entries,
    Identifier,
    OneOf,
    PageRequest,
    Record,
    Request,
    Sensitive,
    Text,
    Timestamp,
    page_of,
)

SERVICE = "identity"

USER_STATES = ("active", "disabled")
SIGN_IN_OUTCOMES = ("signed_in", "wrong_password", "unknown_user", "disabled")
ACCESS_REASONS = ("user", "role", "team", "api_key", "session", "password")

USER_READ = Permission("user", "read")
USER_CREATE = Permission("user", "create")
USER_CHANGE = Permission("user", "change")
TEAM_READ = Permission("team", "read")
TEAM_CREATE = Permission("team", "create")
TEAM_CHANGE = Permission("team", "change")
TEAM_DELETE = Permission("team", "delete")
ROLE_READ = Permission("role", "read")
ROLE_CREATE = Permission("role", "create")
ROLE_CHANGE = Permission("role", "change")
ROLE_DELETE = Permission("role", "delete")
API_KEY_READ = Permission("api_key", "read")
API_KEY_CREATE = Permission("api_key", "create")
API_KEY_DELETE = Permission("api_key", "delete")
SESSION_READ = Permission("session", "read")
SESSION_DELETE = Permission("session", "delete")

SECRET_DIGITS = 43
"""Characters of a 256-bit secret in base64url."""
API_KEY_PREFIX = "hub_live_"
SESSION_PREFIX = "hub_session_"
"""A bearer credential begins with one of these, so that secret scanners and the gateway know it on sight."""


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


def _depths(**kwargs: Any) -> Entries:
    """Return a field of entity → action → depth."""
    word = validate.Regexp(r"^(\*|[a-z][a-z_]{0,39})\Z", error="Is not the name of an entity or action, nor '*'.")
    actions = Entries(
        keys=fields.String(validate=word),
        values=fields.String(validate=OneOf(*DEPTHS)),
        validate=validate.Length(max=60),
    )
    return Entries(keys=fields.String(validate=word), values=actions, validate=validate.Length(max=100), **kwargs)


# --- users --------------------------------------------------------------------------------------------------------


class User(Record):
    """A person who works with the hub. `team_ids` begins with the home team: what the person creates belongs to it."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    username = fields.String(required=True)
    name = fields.String(required=True)
    email = Sensitive(allow_none=True)
    phone = Sensitive(allow_none=True)
    locale = fields.String(required=True)
    status = fields.String(required=True, validate=OneOf(*USER_STATES))
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
    status = fields.String(validate=OneOf(*USER_STATES))
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


# --- oneself ------------------------------------------------------------------------------------------------------


class GetMe(Request):
    """Who you are and what you may do, by the credential that asks."""


class Me(User):
    """The caller, with the rights that hold for this very call (an API key may be narrower than its owner)."""

    roles = fields.List(fields.String(), required=True)
    teams = fields.List(Identifier(), required=True)
    tree = fields.List(Identifier(), required=True)
    depths = _depths(required=True)
    roles_version = fields.Integer(required=True)
    via = fields.String(required=True)


class ChangePassword(Request):
    """Sets a new password of one's own, and ends all other sessions."""

    current_password = Sensitive(required=True, validate=validate.Length(min=1, max=200))
    new_password = Sensitive(required=True, validate=validate.Length(min=1, max=200))


# --- teams --------------------------------------------------------------------------------------------------------


class Team(Record):
    """A group of people in the company's tree. `depth` `tree` reaches a team's records from every team above it."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    name = fields.String(required=True)
    parent_id = Identifier(required=True, allow_none=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class CreateTeam(Request):
    """Adds a team below `parent_id`, or at the top."""

    name = Text(required=True, least=1, most=120)
    parent_id = Identifier(load_default=None, allow_none=True)


class TeamChanges(Request):
    """What may be changed; moving a team takes everything below it along."""

    name = Text(least=1, most=120)
    parent_id = Identifier(allow_none=True)


class ChangeTeam(ById):
    """Changes a team that is still at `expected_version`."""

    expected_version = fields.Integer(required=True)
    changes = fields.Nested(TeamChanges, required=True)


class DeleteTeam(ById):
    """Removes a team that has no members and no teams below it."""

    expected_version = fields.Integer(required=True)


class ListTeams(PageRequest):
    """Lists teams, newest first."""

    parent_id = Identifier()


# --- roles --------------------------------------------------------------------------------------------------------


class Role(Record):
    """A bundle of rights: entity → action → depth. Roles only add up; none takes away what another gives."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    name = fields.String(required=True)
    title = fields.String(required=True)
    built_in = fields.Boolean(required=True)
    depths = _depths(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


_ROLE_NAME = validate.Regexp(r"^[a-z][a-z0-9_-]{1,39}\Z", error="Use 2 to 40 of a-z, 0-9, '_', '-'.")


class CreateRole(Request):
    """Adds a role. Nobody can put more into a role than they may do themselves."""

    name = fields.String(required=True, validate=_ROLE_NAME)
    title = Text(required=True, least=1, most=120)
    depths = _depths(required=True)


class RoleChanges(Request):
    """What may be changed; `depths` replaces what was there."""

    title = Text(least=1, most=120)
    depths = _depths()


class ChangeRole(ById):
    """Changes a role that is still at `expected_version`; the role admin is fixed."""

    expected_version = fields.Integer(required=True)
    changes = fields.Nested(RoleChanges, required=True)


class DeleteRole(ById):
    """Removes a role that nobody holds; built-in roles stay."""

    expected_version = fields.Integer(required=True)


class ListRoles(PageRequest):
    """Lists roles, newest first."""

    name = fields.String(validate=_ROLE_NAME)


# --- API keys -----------------------------------------------------------------------------------------------------


class ApiKey(Record):
    """A program's way in, on behalf of its owner and never with more rights than the owner has at that moment."""

    id = Identifier(required=True)
    name = fields.String(required=True)
    owner_id = Identifier(required=True)
    prefix = fields.String(required=True)
    scopes = _depths(required=True, allow_none=True)
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
    scopes = _depths(load_default=None, allow_none=True)
    expires_at = Timestamp()


class ListApiKeys(PageRequest):
    """Lists API keys, newest first: one's own, and others' as far as the caller may read them."""

    owner_id = Identifier()


class RevokeApiKey(ById):
    """Ends an API key at once."""


# --- sessions -----------------------------------------------------------------------------------------------------


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
    depths = _depths(required=True)
    roles_version = fields.Integer(required=True)
    via = Identifier(required=True)
    expires_at = Timestamp(required=True)
    must_change_password = fields.Boolean(load_default=False)


# --- operations ---------------------------------------------------------------------------------------------------


def _operation(
    name: str,
    summary: str,
    request: type[Request],
    response: type[Record],
    permission: Permission | None,
    *raises: type[errors.HubError],
    **more: Any,
) -> Operation:
    return Operation(SERVICE, name, request, response, permission, errors=raises, summary=summary, **more)


_HASHING_S = 10.0
"""Seconds that a call may take which waits its turn to hash a password."""

CREATE_USER = _operation(
    "create_user", "Add a user", CreateUser, User, USER_CREATE, errors.AlreadyExists, errors.Forbidden, errors.Invalid,
    audited="user",
)
GET_USER = _operation("get_user", "Read a user", ById, User, USER_READ, errors.NotFound, mutates=False)
LIST_USERS = _operation("list_users", "List users", ListUsers, page_of(User), USER_READ, mutates=False)
CHANGE_USER = _operation(
    "change_user", "Change a user", ChangeUser, User, USER_CHANGE,
    errors.NotFound, errors.StaleVersion, errors.AlreadyExists, errors.Forbidden, errors.Conflict, errors.Invalid,
    audited="user",
)  # fmt: skip
DISABLE_USER = _operation(
    "disable_user", "Shut a user out", DisableUser, User, USER_CHANGE,
    errors.NotFound, errors.StaleVersion, errors.Forbidden, errors.Conflict, audited="user",
)  # fmt: skip
ENABLE_USER = _operation(
    "enable_user", "Let a disabled user in again",
    EnableUser, User, USER_CHANGE, errors.NotFound, errors.StaleVersion, errors.Forbidden, audited="user",
)
RESET_PASSWORD = _operation(
    "reset_password", "Give a user a new password",
    ResetPassword, NewPassword, USER_CHANGE, errors.NotFound, errors.Forbidden,
    unsaved=True, timeout_s=_HASHING_S, audited="user",
)  # fmt: skip

GET_ME = _operation("get_me", "Read who you are and what you may do", GetMe, Me, None, mutates=False)
CHANGE_PASSWORD = _operation(
    "change_password", "Change your password",
    ChangePassword, Empty, None, errors.Forbidden, errors.Invalid, errors.TooManyRequests,
    timeout_s=_HASHING_S, audited="user",
)  # fmt: skip

CREATE_TEAM = _operation(
    "create_team", "Add a team", CreateTeam, Team, TEAM_CREATE, errors.AlreadyExists, errors.Invalid, audited="team",
)
GET_TEAM = _operation("get_team", "Read a team", ById, Team, TEAM_READ, errors.NotFound, mutates=False)
LIST_TEAMS = _operation("list_teams", "List teams", ListTeams, page_of(Team), TEAM_READ, mutates=False)
CHANGE_TEAM = _operation(
    "change_team", "Change a team", ChangeTeam, Team, TEAM_CHANGE,
    errors.NotFound, errors.StaleVersion, errors.AlreadyExists, errors.Invalid, audited="team",
)  # fmt: skip
DELETE_TEAM = _operation(
    "delete_team", "Remove a team",
    DeleteTeam, Empty, TEAM_DELETE, errors.NotFound, errors.StaleVersion, errors.Conflict, audited="team",
)

CREATE_ROLE = _operation(
    "create_role", "Add a role", CreateRole, Role, ROLE_CREATE, errors.AlreadyExists, errors.Forbidden,
    audited="role",
)
GET_ROLE = _operation("get_role", "Read a role", ById, Role, ROLE_READ, errors.NotFound, mutates=False)
LIST_ROLES = _operation("list_roles", "List roles", ListRoles, page_of(Role), ROLE_READ, mutates=False)
CHANGE_ROLE = _operation(
    "change_role", "Change a role", ChangeRole, Role, ROLE_CHANGE,
    errors.NotFound, errors.StaleVersion, errors.Forbidden, errors.Conflict, audited="role",
)  # fmt: skip
DELETE_ROLE = _operation(
    "delete_role", "Remove a role",
    DeleteRole, Empty, ROLE_DELETE, errors.NotFound, errors.StaleVersion, errors.Conflict, audited="role",
)

CREATE_API_KEY = _operation(
    "create_api_key", "Make an API key",
    CreateApiKey, NewApiKey, API_KEY_CREATE, errors.NotFound, errors.Forbidden, errors.Invalid,
    unsaved=True, audited="api_key",
)
GET_API_KEY = _operation(
    "get_api_key", "Read an API key, without its secret", ById, ApiKey, None, errors.NotFound, mutates=False
)
LIST_API_KEYS = _operation("list_api_keys", "List API keys", ListApiKeys, page_of(ApiKey), None, mutates=False)
REVOKE_API_KEY = _operation(
    "revoke_api_key", "Revoke an API key", RevokeApiKey, ApiKey, None, errors.NotFound, audited="api_key"
)

SIGN_IN = _operation(
    "sign_in", "Sign in", SignIn, SignedIn, None, errors.Unauthenticated, errors.TooManyRequests,
    internal=True, unsaved=True, timeout_s=_HASHING_S,
)  # fmt: skip
LIST_SESSIONS = _operation("list_sessions", "List open sessions", ListSessions, page_of(Session), None, mutates=False)
REVOKE_SESSION = _operation(
    "revoke_session", "Sign out, or end a session", RevokeSession, Session, None, errors.NotFound, audited="session",
)
LIST_LOGIN_EVENTS = _operation(
    "list_login_events", "List attempts to sign in", ListLoginEvents, page_of(LoginEvent), None, mutates=False
)
INTROSPECT = _operation(
    "introspect", "Find out whose a credential is",
    Introspect, Claims, None, errors.Unauthenticated, mutates=False, internal=True, timeout_s=2.0
)

OPERATIONS = (
    CREATE_USER, GET_USER, LIST_USERS, CHANGE_USER, DISABLE_USER, ENABLE_USER, RESET_PASSWORD, GET_ME, CHANGE_PASSWORD,
    CREATE_TEAM, GET_TEAM, LIST_TEAMS, CHANGE_TEAM, DELETE_TEAM, CREATE_ROLE, GET_ROLE, LIST_ROLES, CHANGE_ROLE,
    DELETE_ROLE, CREATE_API_KEY, GET_API_KEY, LIST_API_KEYS, REVOKE_API_KEY, SIGN_IN, LIST_SESSIONS, REVOKE_SESSION,
    LIST_LOGIN_EVENTS, INTROSPECT,
)  # fmt: skip


# --- events -------------------------------------------------------------------------------------------------------


class UserDisabled(Record):
    """A person was shut out; their open work may need another owner."""

    id = Identifier(required=True)
    username = fields.String(required=True)
    name = fields.String(required=True)
    team_ids = fields.List(Identifier(), required=True)
    disabled_at = Timestamp(required=True)
    disabled_by = fields.String(required=True)


class AccessChanged(Record):
    """What somebody may do, or whether they may come in at all, is not what it was: forget what introspection said.

    `user_id` is null when more than one person is concerned.
    """

    user_id = Identifier(required=True, allow_none=True)
    reason = fields.String(required=True, validate=OneOf(*ACCESS_REASONS))
    roles_version = fields.Integer(required=True)


USER_DISABLED = EventType(SERVICE, "user.disabled", "user", UserDisabled, expects_listener=False)
ACCESS_CHANGED = EventType(SERVICE, "access.changed", "access", AccessChanged)

EVENTS = (USER_DISABLED, ACCESS_CHANGED)
