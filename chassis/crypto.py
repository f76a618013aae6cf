"""Keys and ciphers: the master key, the data keys of a service, sealed fields, blind indexes and sealed messages.

Three layers, each opened by the one above:

* the **master key** is a file outside every database and backup (`MasterKey`);
* **data keys** are rows of the service's own table `data_key`, wrapped under the master key (`Keyring`);
* **fields** are ciphertext under a data key, bound to table, column and row by their associated data.

Messages between services are sealed straight under the master key (`WireCodec`), so that no room needs another's table.
Everything here is AES-256-GCM, HMAC-SHA256 and HKDF-SHA256 from `cryptography`. A random 96-bit nonce is safe for 2^32
texts per key: rotate before that (4 billion sealed values).
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Column, Index, String, Table, Text, create_engine, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from chassis.database import CHASSIS, UtcDateTime, utcnow
from chassis.master import MasterKey, MasterKeyError
from chassis.suites import SUITE_V1, SealBroken, Suite, encode, parse
from contracts.errors import Unavailable

__all__ = [
    "DATA_KEY", "DataKeys", "Keyring", "MasterKey", "MasterKeyError", "SealBroken", "WireCodec", "fingerprint",
]  # fmt: skip

FIELD_PURPOSE = "field"

DATA_KEY = Table(
    "data_key",
    CHASSIS,
    Column("id", String(16), primary_key=True),
    Column("purpose", String(120), nullable=False),
    Column("wrapped", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),
    # One active key per purpose: of two processes that make the first key at once, one loses here and reads again.
    Index(
        "uq_data_key_purpose_active",
        "purpose",
        unique=True,
        sqlite_where=text("retired_at IS NULL"),
        postgresql_where=text("retired_at IS NULL"),
    ),
)


class WrappedKey(NamedTuple):
    """A row of `data_key`."""

    id: str
    purpose: str
    wrapped: str
    created_at: dt.datetime
    retired_at: dt.datetime | None


class DataKeys:
    """The table `data_key` of one service, over short connections of its own.

    Never the service's pool: on SQLite that is a single connection, and the operation that needs a key holds it.
    """

    def __init__(self, uri: str) -> None:
        url = make_url(uri)
        if url.get_backend_name() == "sqlite":
            self._engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 1.0})
        else:
            url = url.set(drivername="postgresql+psycopg2")
            self._engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 5})

    def all(self) -> list[WrappedKey]:
        """Return every key, retired ones too.

        Raises:
            Unavailable: the database is away, or not migrated.
        """
        try:
            with self._engine.connect() as connection:
                return [WrappedKey(*row) for row in connection.execute(select(DATA_KEY))]
        except DBAPIError as error:
            raise Unavailable("The data keys cannot be read: is the database up and migrated?") from error

    def add(self, key: WrappedKey, *, retire: bool = False) -> None:
        """Insert `key`, unless its purpose has an active one; with `retire`, that one is retired first.

        Raises:
            Unavailable: the database is away or busy.
        """
        try:
            with self._engine.begin() as connection:
                if retire:
                    active = (DATA_KEY.c.purpose == key.purpose) & DATA_KEY.c.retired_at.is_(None)
                    connection.execute(update(DATA_KEY).where(active).values(retired_at=key.created_at))
                connection.execute(insert(DATA_KEY).values(key._asdict()))
        except IntegrityError:
            return  # another process was first; the caller reads its key
        except DBAPIError as error:
            raise Unavailable(f"A data key for {key.purpose} cannot be made: prepare it at start") from error


@dataclass(frozen=True)
class _DataKey:
    id: str
    purpose: str
    secret: bytes = field(repr=False)
    active: bool


class Keyring:
    """The data keys of one service, in memory after the first use.

    Keys are made when first needed, in a transaction of their own. On SQLite that cannot happen while an operation
    holds the write lock, so the launcher calls `prepare` before the first call is taken.
    """

    def __init__(self, master: MasterKey, keys: DataKeys, suite: Suite = SUITE_V1) -> None:
        self._master = master
        self._keys = keys
        self._suite = suite
        self._by_id: dict[str, _DataKey] = {}
        self._active: dict[str, _DataKey] = {}

    def prepare(self, columns: Iterable[str] = ()) -> None:
        """Make or load the field key, and the index key of each `table.column`.

        Raises:
            Unavailable: the database is away.
            SealBroken: a key was wrapped under another master key.
        """
        for purpose in (FIELD_PURPOSE, *(f"index:{column}" for column in columns)):
            self._key_for(purpose)

    def seal(self, plain: str, aad: str) -> str:
        """Return `plain` as `v1.<key id>.<base64url>`; `aad` names the place, such as `customer|phone|<row id>`.

        Raises:
            Unavailable: the key is not in memory and the database is away.
        """
        key = self._key_for(FIELD_PURPOSE)
        return self._suite.seal(key.secret, key.id, plain.encode(), aad.encode())

    def open(self, sealed: str, aad: str) -> str:
        """Return what was sealed for the same place.

        Raises:
            SealBroken: changed, moved to another row or column, or sealed with a key that is not ours.
            Unavailable: the key is not in memory and the database is away.
        """
        parts = parse(sealed)
        if parts.key_id not in self._by_id:
            self._load()
        key = self._by_id.get(parts.key_id)
        if key is None or key.purpose != FIELD_PURPOSE:
            raise SealBroken(f"sealed with data key {parts.key_id}, which this service does not have")
        return parts.suite.open(key.secret, parts.box, aad.encode()).decode()

    def blind(self, column: str, normalised: str) -> str:
        """Return the blind index (43 characters) of a value of `table.column`: equal values, equal indexes.

        Raises:
            Unavailable: the key is not in memory and the database is away.
        """
        key = self._key_for(f"index:{column}")
        return encode(self._suite.mac(key.secret, normalised.encode()))

    def rotate(self) -> str:
        """Make a new field key for everything sealed from now on and return its id; older texts still open.

        Other processes of the service follow when they restart or meet a text sealed with the new key.
        """
        made = self._make(FIELD_PURPOSE, retire=True)
        self._load()
        return made

    def _key_for(self, purpose: str) -> _DataKey:
        if purpose not in self._active:
            self._load()
        if purpose not in self._active:
            self._make(purpose)
            self._load()
        return self._active[purpose]

    def _make(self, purpose: str, *, retire: bool = False) -> str:
        key_id = secrets.token_hex(8)
        wrapping = self._master.derive("wrap")
        secret = secrets.token_bytes(self._suite.key_bytes)
        wrapped = self._suite.seal(wrapping, self._master.current, secret, _wrap_aad(key_id, purpose))
        self._keys.add(WrappedKey(key_id, purpose, wrapped, utcnow(), None), retire=retire)
        return key_id

    def _load(self) -> None:
        for row in self._keys.all():
            parts = parse(row.wrapped)
            wrapping = self._master.derive("wrap", parts.key_id)
            secret = parts.suite.open(wrapping, parts.box, _wrap_aad(row.id, row.purpose))
            key = self._by_id[row.id] = _DataKey(row.id, row.purpose, secret, row.retired_at is None)
            if key.active:
                self._active[row.purpose] = key


def _wrap_aad(key_id: str, purpose: str) -> bytes:
    return f"data_key|{key_id}|{purpose}".encode()


class WireCodec:
    """Seals what travels between services or comes back to us: message fields (`wire`), page cursors (`cursor`)."""

    def __init__(self, master: MasterKey, suite: Suite = SUITE_V1) -> None:
        self._master = master
        self._suite = suite

    def seal(self, text: str, purpose: str) -> str:
        """Return `text` as `v1.<master key id>.<base64url>`, which opens for the same purpose alone."""
        key = self._master.derive(f"wire|{purpose}")
        return self._suite.seal(key, self._master.current, text.encode(), purpose.encode())

    def open(self, sealed: str, purpose: str) -> str:
        """Return what was sealed for `purpose`.

        Raises:
            SealBroken: changed on the way, made for another purpose, or not ours.
        """
        parts = parse(sealed)
        key = self._master.derive(f"wire|{purpose}", parts.key_id)
        return parts.suite.open(key, parts.box, purpose.encode()).decode()


def fingerprint(master: MasterKey, body: bytes) -> str:
    """Return a keyed hash of a request body (43 characters): tells two bodies apart, tells nothing of what they hold.

    A new master key gives new fingerprints; keep idempotency rows (24 h) in mind when rotating it.
    """
    return encode(SUITE_V1.mac(master.derive("fingerprint"), body))
