"""What the identity service is asked, answers and announces: who is who, and what each may do.

What it keeps is described by noun: `contracts.users`, `contracts.teams`, `contracts.roles`, `contracts.credentials`.
"""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from contracts import credentials, errors, roles, teams, users
from contracts.event import EventType
from contracts.operation import Operation, Permission
from contracts.schema import ById, Empty, Identifier, OneOf, Record, Request, Timestamp, page_of

SERVICE = "identity"
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
    "create_user", "Add a user",
    users.CreateUser, users.User, USER_CREATE, errors.AlreadyExists, errors.Forbidden, errors.Invalid, audited="user",
)
GET_USER = _operation("get_user", "Read a user", ById, users.User, USER_READ, errors.NotFound, mutates=False)
LIST_USERS = _operation("list_users", "List users", users.ListUsers, page_of(users.User), USER_READ, mutates=False)
CHANGE_USER = _operation(
    "change_user", "Change a user", users.ChangeUser, users.User, USER_CHANGE,
    errors.NotFound, errors.StaleVersion, errors.AlreadyExists, errors.Forbidden, errors.Conflict, errors.Invalid,
    audited="user",
)  # fmt: skip
DISABLE_USER = _operation(
    "disable_user", "Shut a user out", users.DisableUser, users.User, USER_CHANGE,
    errors.NotFound, errors.StaleVersion, errors.Forbidden, errors.Conflict, audited="user",
)  # fmt: skip
ENABLE_USER = _operation(
    "enable_user", "Let a disabled user in again",
    users.EnableUser, users.User, USER_CHANGE, errors.NotFound, errors.StaleVersion, errors.Forbidden, audited="user",
)
RESET_PASSWORD = _operation(
    "reset_password", "Give a user a new password",
    users.ResetPassword, users.NewPassword, USER_CHANGE, errors.NotFound, errors.Forbidden,
    unsaved=True, timeout_s=_HASHING_S, audited="user",
)  # fmt: skip

GET_ME = _operation("get_me", "Read who you are and what you may do", users.GetMe, users.Me, None, mutates=False)
CHANGE_PASSWORD = _operation(
    "change_password", "Change your password",
    users.ChangePassword, Empty, None, errors.Forbidden, errors.Invalid, errors.TooManyRequests,
    timeout_s=_HASHING_S, audited="user",
)  # fmt: skip

CREATE_TEAM = _operation(
    "create_team", "Add a team",
    teams.CreateTeam, teams.Team, TEAM_CREATE, errors.AlreadyExists, errors.Invalid, audited="team",
)
GET_TEAM = _operation("get_team", "Read a team", ById, teams.Team, TEAM_READ, errors.NotFound, mutates=False)
LIST_TEAMS = _operation("list_teams", "List teams", teams.ListTeams, page_of(teams.Team), TEAM_READ, mutates=False)
CHANGE_TEAM = _operation(
    "change_team", "Change a team", teams.ChangeTeam, teams.Team, TEAM_CHANGE,
    errors.NotFound, errors.StaleVersion, errors.AlreadyExists, errors.Invalid, audited="team",
)  # fmt: skip
DELETE_TEAM = _operation(
    "delete_team", "Remove a team",
    teams.DeleteTeam, Empty, TEAM_DELETE, errors.NotFound, errors.StaleVersion, errors.Conflict, audited="team",
)

CREATE_ROLE = _operation(
    "create_role", "Add a role", roles.CreateRole, roles.Role, ROLE_CREATE,
    errors.AlreadyExists, errors.Forbidden, errors.Invalid, audited="role",
)
GET_ROLE = _operation("get_role", "Read a role", ById, roles.Role, ROLE_READ, errors.NotFound, mutates=False)
LIST_ROLES = _operation("list_roles", "List roles", roles.ListRoles, page_of(roles.Role), ROLE_READ, mutates=False)
CHANGE_ROLE = _operation(
    "change_role", "Change a role", roles.ChangeRole, roles.Role, ROLE_CHANGE,
    errors.NotFound, errors.StaleVersion, errors.Forbidden, errors.Conflict, errors.Invalid, audited="role",
)  # fmt: skip
DELETE_ROLE = _operation(
    "delete_role", "Remove a role",
    roles.DeleteRole, Empty, ROLE_DELETE, errors.NotFound, errors.StaleVersion, errors.Conflict, audited="role",
)

CREATE_API_KEY = _operation(
    "create_api_key", "Make an API key",
    credentials.CreateApiKey, credentials.NewApiKey, API_KEY_CREATE, errors.NotFound, errors.Forbidden, errors.Invalid,
    unsaved=True, audited="api_key",
)
GET_API_KEY = _operation(
    "get_api_key", "Read an API key, without its secret",
    ById, credentials.ApiKey, None, errors.NotFound, mutates=False,
)
LIST_API_KEYS = _operation(
    "list_api_keys", "List API keys", credentials.ListApiKeys, page_of(credentials.ApiKey), None, mutates=False
)
REVOKE_API_KEY = _operation(
    "revoke_api_key", "Revoke an API key",
    credentials.RevokeApiKey, credentials.ApiKey, None, errors.NotFound, audited="api_key",
)

SIGN_IN = _operation(
    "sign_in", "Sign in",
    credentials.SignIn, credentials.SignedIn, None, errors.Unauthenticated, errors.TooManyRequests,
    internal=True, unsaved=True, timeout_s=_HASHING_S,
)  # fmt: skip
LIST_SESSIONS = _operation(
    "list_sessions", "List open sessions", credentials.ListSessions, page_of(credentials.Session), None, mutates=False
)
REVOKE_SESSION = _operation(
    "revoke_session", "Sign out, or end a session",
    credentials.RevokeSession, credentials.Session, None, errors.NotFound, audited="session",
)
LIST_LOGIN_EVENTS = _operation(
    "list_login_events", "List attempts to sign in",
    credentials.ListLoginEvents, page_of(credentials.LoginEvent), None, mutates=False,
)
INTROSPECT = _operation(
    "introspect", "Find out whose a credential is",
    credentials.Introspect, credentials.Claims, None, errors.Unauthenticated,
    mutates=False, internal=True, timeout_s=2.0,
)

OPERATIONS = (
    CREATE_USER, GET_USER, LIST_USERS, CHANGE_USER, DISABLE_USER, ENABLE_USER, RESET_PASSWORD, GET_ME, CHANGE_PASSWORD,
    CREATE_TEAM, GET_TEAM, LIST_TEAMS, CHANGE_TEAM, DELETE_TEAM, CREATE_ROLE, GET_ROLE, LIST_ROLES, CHANGE_ROLE,
    DELETE_ROLE, CREATE_API_KEY, GET_API_KEY, LIST_API_KEYS, REVOKE_API_KEY, SIGN_IN, LIST_SESSIONS, REVOKE_SESSION,
    LIST_LOGIN_EVENTS, INTROSPECT,
)  # fmt: skip


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
