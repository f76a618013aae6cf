"""Makes the first administrator: `python -m services.identity.first_admin [--username admin]`.

The password is random, written once to standard output and nowhere else, and must be changed at the first sign-in.
When an administrator exists nothing is made and the exit code is 0, so it can be part of every start.
`--reset USERNAME` gives an administrator who is locked out a new password: whoever can read the master key may do that.
"""

from __future__ import annotations

import argparse
import os
import sys

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis import revision
from chassis.audit import trail
from chassis.config import ConfigError
from chassis.context import Subject
from chassis.crypto import DataKeys, Keyring, MasterKey, MasterKeyError, WireCodec
from chassis.database import Database
from chassis.sealed import KEYRING, sealed_columns
from contracts.errors import HubError
from contracts.schema import install_codec, load
from contracts.users import CreateUser
from services.identity.domain.passwords import random_password
from services.identity.domain.roles import ADMIN_ROLE_ID
from services.identity.models import Base, User
from services.identity.operations import access, attempts, passwords, users
from services.identity.operations.hashing import Hasher
from services.identity.operations.sign_in import Gate
from services.identity.queries.rights import active_holders
from services.identity.settings import IdentitySettings

BY = Subject.service("first_admin")


def open_gate(settings: IdentitySettings) -> Gate:
    """Return what making a user and a password needs, without broker or relay: the running service sends the events.

    Raises:
        ConfigError: the database is not migrated.
        MasterKeyError: the master key cannot be used.
        Unavailable: the database is away.
    """
    master = MasterKey.load(settings.master_key_file)
    install_codec(WireCodec(master))
    keyring = Keyring(master, DataKeys(settings.db_uri))
    db = Database(settings.db_uri, pool_size=1, info={KEYRING: keyring})
    behind = revision.behind(settings.room, db)
    if behind is not None:
        raise ConfigError(behind)
    keyring.prepare([*sealed_columns(Base), attempts.GUARD_KEYS])
    return Gate(db, keyring, Hasher(settings.password_hash_memory_mib, 1), settings)


def make(gate: Gate, username: str) -> str | None:
    """Make the first administrator and return the password, or None if an administrator exists.

    Raises:
        Invalid: the user name is not one.
        AlreadyExists: a user without the role admin has the name.
    """
    request = load(CreateUser, {"username": username, "name": "Administrator", "role_ids": [ADMIN_ROLE_ID]})
    password = random_password()
    made = gate.hasher.hash(password)
    with gate.db.write() as session:
        # First, so that of two that start at once the second waits here and then finds the first one's.
        access.changed(session, reason="user", user_id=None, by=BY)
        if active_holders(session, ADMIN_ROLE_ID):
            session.rollback()
            return None
        user = users.create(session, request, BY)
        passwords.put(user, made, must_change=True)
        trail.record(session, "first_admin.make", by=BY, entity="user", record_id=user.id,
                     details={"username": username})
    return password


def renew(gate: Gate, username: str) -> str:
    """Give an administrator a new password and return it.

    Raises:
        ConfigError: nobody of this name is an administrator.
    """
    with gate.db.read() as session:
        user = session.scalars(select(User).where(User.username == username)).one_or_none()
        if user is None or ADMIN_ROLE_ID not in user.role_ids:
            raise ConfigError(f"no administrator is called {username}")

    def keep(session: Session, _answer: object) -> None:
        trail.record(session, "first_admin.reset", by=BY, entity="user", record_id=user.id)

    return passwords.reset(gate, user.id, BY, keep)["password"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code: 0 done or nothing to do, 2 not possible."""
    parser = argparse.ArgumentParser(prog="first_admin", description="Make the first administrator of this hub.")
    parser.add_argument("--username", default="admin", help="user name of the administrator (default: admin)")
    parser.add_argument("--reset", metavar="USERNAME", help="give this administrator a new password")
    asked = parser.parse_args(arguments)
    username = asked.reset or asked.username
    try:
        gate = open_gate(IdentitySettings.load("identity", os.environ))
        try:
            password = renew(gate, username) if asked.reset else make(gate, username)
        finally:
            gate.db.close()
    except (ConfigError, MasterKeyError, HubError) as error:
        sys.stderr.write(f"first_admin: {error}\n")
        return 2
    if password is None:
        sys.stdout.write("An administrator exists; nothing was made.\n")
    else:
        sys.stdout.write(f"username: {username}\npassword: {password}\nIt is shown this once; change it at sign-in.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
