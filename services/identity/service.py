"""The door of identity. `BASE`, `SETTINGS`, `SERVICE` and `prepare` are what the launcher looks for."""

from __future__ import annotations

from typing import Any, cast

from eventlet import tpool

from chassis.database import utcnow
from chassis.entrypoints import Call, Service, exposes
from chassis.paging import Page
from chassis.runtime import Runtime
from contracts import identity as contract
from services.identity.models import ApiKey, Base, Role, Session, Team, User
from services.identity.operations import attempts, credentials, passwords, roles, sign_in, teams, users
from services.identity.operations.hashing import Hasher
from services.identity.operations.upkeep import Sightings, Upkeep
from services.identity.queries import credentials as credential_queries
from services.identity.queries import introspection
from services.identity.queries import roles as role_queries
from services.identity.queries import teams as team_queries
from services.identity.queries import users as user_queries
from services.identity.settings import IdentitySettings

NOTHING: dict[str, Any] = {}


def prepare(runtime: Runtime) -> None:
    """Add what identity needs for itself: the hasher, the gate, the sightings, the key of the sign-in counters."""
    settings = cast(IdentitySettings, runtime.settings)
    runtime.keyring.prepare([attempts.GUARD_KEYS])
    hasher = Hasher(settings.password_hash_memory_mib, settings.password_hash_concurrency, tpool.execute)
    runtime.extra["gate"] = sign_in.Gate(runtime.db, runtime.keyring, hasher, settings)
    runtime.extra["sightings"] = Sightings()


def upkeep(runtime: Runtime) -> Upkeep:
    """Return the room's background work."""
    return Upkeep(runtime.db, runtime.extra["sightings"], cast(IdentitySettings, runtime.settings))


class IdentityService(Service):
    """Who is who, what each may do, and whose credential this is."""

    name = contract.SERVICE
    background = (upkeep,)

    @exposes(contract.CREATE_USER)
    def create_user(self, call: Call) -> User:
        return users.create(call.session, call.request, call.subject)

    @exposes(contract.GET_USER)
    def get_user(self, call: Call) -> User:
        return user_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_USERS)
    def list_users(self, call: Call) -> Page:
        return user_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.CHANGE_USER)
    def change_user(self, call: Call) -> User:
        return users.change(call.session, by=call.subject, **call.request)

    @exposes(contract.DISABLE_USER)
    def disable_user(self, call: Call) -> User:
        return users.disable(call.session, by=call.subject, **call.request)

    @exposes(contract.ENABLE_USER)
    def enable_user(self, call: Call) -> User:
        return users.enable(call.session, by=call.subject, **call.request)

    @exposes(contract.RESET_PASSWORD, session=False)
    def reset_password(self, call: Call) -> dict[str, str]:
        return passwords.reset(call.runtime.extra["gate"], call.request["id"], call.subject, call.keep)

    @exposes(contract.GET_ME)
    def get_me(self, call: Call) -> dict[str, Any]:
        return user_queries.me(call.session, call.subject)

    @exposes(contract.CHANGE_PASSWORD, session=False)
    def change_password(self, call: Call) -> dict[str, Any]:
        return passwords.change_own(call.runtime.extra["gate"], call.request, call.subject, call.keep)

    @exposes(contract.CREATE_TEAM)
    def create_team(self, call: Call) -> Team:
        return teams.create(call.session, call.request, call.subject)

    @exposes(contract.GET_TEAM)
    def get_team(self, call: Call) -> Team:
        return team_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_TEAMS)
    def list_teams(self, call: Call) -> Page:
        return team_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.CHANGE_TEAM)
    def change_team(self, call: Call) -> Team:
        return teams.change(call.session, by=call.subject, **call.request)

    @exposes(contract.DELETE_TEAM)
    def delete_team(self, call: Call) -> dict[str, Any]:
        teams.remove(call.session, by=call.subject, **call.request)
        return NOTHING

    @exposes(contract.CREATE_ROLE)
    def create_role(self, call: Call) -> Role:
        return roles.create(call.session, call.request, call.subject)

    @exposes(contract.GET_ROLE)
    def get_role(self, call: Call) -> Role:
        return role_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_ROLES)
    def list_roles(self, call: Call) -> Page:
        return role_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.CHANGE_ROLE)
    def change_role(self, call: Call) -> Role:
        return roles.change(call.session, by=call.subject, **call.request)

    @exposes(contract.DELETE_ROLE)
    def delete_role(self, call: Call) -> dict[str, Any]:
        roles.remove(call.session, by=call.subject, **call.request)
        return NOTHING

    @exposes(contract.CREATE_API_KEY)
    def create_api_key(self, call: Call) -> dict[str, Any]:
        settings = cast(IdentitySettings, call.runtime.settings)
        return credentials.create_api_key(call.session, call.request, call.subject, settings.api_key_max_days)

    @exposes(contract.GET_API_KEY)
    def get_api_key(self, call: Call) -> ApiKey:
        return credential_queries.get_api_key(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_API_KEYS)
    def list_api_keys(self, call: Call) -> Page:
        return credential_queries.api_keys(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.REVOKE_API_KEY)
    def revoke_api_key(self, call: Call) -> ApiKey:
        return credentials.revoke_api_key(call.session, call.request["id"], call.subject)

    @exposes(contract.SIGN_IN, session=False)
    def sign_in(self, call: Call) -> dict[str, Any]:
        return sign_in.sign_in(call.runtime.extra["gate"], call.request)

    @exposes(contract.LIST_SESSIONS)
    def list_sessions(self, call: Call) -> Page:
        return credential_queries.sessions(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.REVOKE_SESSION)
    def revoke_session(self, call: Call) -> Session:
        return credentials.revoke_session(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_LOGIN_EVENTS)
    def list_login_events(self, call: Call) -> Page:
        return credential_queries.login_events(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.INTROSPECT)
    def introspect(self, call: Call) -> dict[str, Any]:
        now = utcnow()
        claims = introspection.claims_of(call.session, call.request["credential_sha256"], now)
        call.runtime.extra["sightings"].note(claims["kind"], claims["via"], now)
        return claims


SERVICE, SETTINGS, BASE = IdentityService, IdentitySettings, Base
