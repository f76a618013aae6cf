"""A migrated identity database, on each engine, and people in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from chassis.context import Subject
from chassis.crypto import DataKeys, Keyring, MasterKey, WireCodec
from chassis.database import Database, utcnow
from chassis.outbox import OUTBOX
from chassis.sealed import KEYRING, sealed_columns
from contracts.credentials import CreateApiKey
from contracts.schema import install_codec, load
from contracts.teams import CreateTeam
from contracts.users import CreateUser
from services.identity.domain.credentials import sha256_of
from services.identity.models import Base, Role
from services.identity.operations import attempts, credentials, passwords, sign_in, teams, users
from services.identity.operations.hashing import Hasher
from services.identity.queries.introspection import claims_of
from services.identity.queries.rights import of_user
from services.identity.settings import IdentitySettings
from tests.support.migrated import bring_up_to_date, create_migrated
from tests.support.postgres import Postgres

ROOT = Subject.service("test")
PASSWORD = "correct horse battery staple"


@dataclass
class Identity:
    """The service's parts, and short ways to do what many tests do."""

    gate: sign_in.Gate
    codec: WireCodec

    @property
    def db(self) -> Database:
        return self.gate.db

    def user(self, username: str, *roles: str, team_ids: tuple[str, ...] = (), by: Subject = ROOT, **more: Any) -> str:
        """Add a user with a password that need not be changed; return the id."""
        with self.db.write() as session:
            ids = list(session.scalars(select(Role.id).where(Role.name.in_(roles))))
            asked = {"username": username, "name": username.title(), "role_ids": ids, "team_ids": list(team_ids)}
            user = users.create(session, load(CreateUser, asked | more), by)
            passwords.put(user, self.gate.hasher.hash(PASSWORD), must_change=False)
        return user.id

    def team(self, name: str, parent_id: str | None = None) -> str:
        with self.db.write() as session:
            return teams.create(session, load(CreateTeam, {"name": name, "parent_id": parent_id}), ROOT).id

    def subject(self, user_id: str) -> Subject:
        """The subject of a user as introspection would make it."""
        with self.db.read() as session:
            held = of_user(session, user_id)
        return Subject(user_id, "user", user_id, held.teams, held.tree, held.depths, held.version, "no-session")

    def api_key(self, owner_id: str, by: Subject | None = None, **asked: Any) -> dict[str, Any]:
        """Make an API key of a user, asked for by the user unless `by` says else."""
        subject = by or self.subject(owner_id)
        request = load(CreateApiKey, {"name": "erp", "owner_id": owner_id} | asked)
        with self.db.write() as session:
            return credentials.create_api_key(session, request, subject, self.gate.settings.api_key_max_days)

    def sign_in(self, username: str, password: str = PASSWORD, source: str = "10.0.0.1") -> dict[str, Any]:
        asked = {"username": username, "password": password, "source": source, "user_agent": "tests"}
        return sign_in.sign_in(self.gate, asked)

    def introspect(self, credential: str, at: Any = None) -> Subject:
        """The subject behind a credential, as the gateway gets it."""
        with self.db.read() as session:
            claims = claims_of(session, sha256_of(credential), at or utcnow())
        claims.pop("expires_at")
        claims.pop("must_change_password")
        return Subject(**claims)

    def events(self) -> list[tuple[str, str]]:
        """(routing key, subject) of everything announced so far, oldest first."""
        with self.db.read() as session:
            query = select(OUTBOX.c.routing_key, OUTBOX.c.subject).order_by(OUTBOX.c.id)
            return [(key, subject) for key, subject in session.execute(query)]


@pytest.fixture
def postgres_uri(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """SQLAlchemy URI of a fresh database, migrated unless a file is about that; dropped with the test."""
    postgres.start()
    migrated = request.path.stem not in {"test_migrations", "test_first_admin"}
    name = create_migrated(postgres, "identity") if migrated else postgres.create_database()
    yield postgres.uri(name)
    postgres.start()
    postgres.drop_database(name)


@pytest.fixture
def settings(db_uri: str, tmp_path: Path) -> IdentitySettings:
    return IdentitySettings.load(
        "identity",
        {"HUB_HOME": str(tmp_path), "DB_URI_IDENTITY": db_uri, "IDENTITY_PASSWORD_HASH_MEMORY_MIB": "19"},
    )


@pytest.fixture
def identity(settings: IdentitySettings) -> Iterator[Identity]:
    master = MasterKey.create(settings.master_key_file)
    codec = WireCodec(master)
    install_codec(codec)
    bring_up_to_date("identity", settings.db_uri)
    keyring = Keyring(master, DataKeys(settings.db_uri))
    keyring.prepare([*sealed_columns(Base), attempts.GUARD_KEYS])
    db = Database(settings.db_uri, pool_size=5, info={KEYRING: keyring})
    yield Identity(sign_in.Gate(db, keyring, Hasher(1, 2), settings), codec)  # quick: few tests are about the cost
    db.close()
