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

import base64
import datetime as dt
import hashlib
import os
import secrets
import stat
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Column, Index, String, Table, Text, create_engine, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from chassis.database import CHASSIS, UtcDateTime, utcnow
from contracts.errors import Unavailable

MASTER_FORMAT = "hub-master-key 1"
MASTER_BYTES = 32
NONCE_BYTES = 12
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


class SealBroken(ValueError):
    """The sealed text was not made with these keys for this place, or has been changed since."""


class MasterKeyError(Exception):
    """The master key file cannot be used; the text says why and what to do."""


class Aead(Protocol):
    """An authenticated cipher that holds its key."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return ciphertext with its tag."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return the plain bytes, or raise `InvalidTag`."""
        ...


@dataclass(frozen=True)
class Suite:
    """A cipher and a hash that belong together, named by the prefix that sealed texts begin with."""

    prefix: str
    key_bytes: int
    cipher: Callable[[bytes], Aead]
    digest: Callable[[], HashAlgorithm]

    def seal(self, key: bytes, key_id: str, plain: bytes, aad: bytes) -> str:
        """Return `<prefix>.<key id>.<base64url of nonce and ciphertext>`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return f"{self.prefix}.{key_id}.{_encode(nonce + self.cipher(key).encrypt(nonce, plain, aad))}"

    def open(self, key: bytes, box: bytes, aad: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            SealBroken: another key, other associated data, or changed bytes.
        """
        try:
            return self.cipher(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], aad)
        except (InvalidTag, ValueError) as error:
            raise SealBroken("the sealed text does not open with its key in this place") from error

    def mac(self, key: bytes, message: bytes) -> bytes:
        """Return the keyed hash of `message`."""
        mac = HMAC(key, self.digest())
        mac.update(message)
        return mac.finalize()


SUITE_V1 = Suite(prefix="v1", key_bytes=32, cipher=AESGCM, digest=SHA256)
"""AES-256-GCM with HMAC-SHA256. Another suite is another prefix in `SUITES`; texts of both open side by side."""
SUITES: Mapping[str, Suite] = {SUITE_V1.prefix: SUITE_V1}


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(encoded: str) -> bytes:
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)


class _Sealed(NamedTuple):
    suite: Suite
    key_id: str
    box: bytes


def _parse(sealed: str) -> _Sealed:
    try:
        prefix, key_id, encoded = sealed.split(".")
        return _Sealed(SUITES[prefix], key_id, _decode(encoded))
    except (ValueError, KeyError, Base64Error) as error:
        raise SealBroken("not a sealed text of this hub") from error


# --- master key ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MasterKey:
    """The key above all keys, read from a file that only its owner may read.

    The file holds `hub-master-key 1` and then one `<id> <base64url key>` line per version, the current one first; older
    versions only open what they once sealed. The id is the start of the key's SHA-256, so a damaged file is noticed.
    """

    current: str
    versions: Mapping[str, bytes] = field(repr=False)
    _derived: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the key in `path`.

        Raises:
            MasterKeyError: missing, readable by others, of another format, damaged, or of the wrong length.
        """
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                raise MasterKeyError(f"{path} has mode {mode:04o}; others may read it: chmod 600 it")
            lines = path.read_text(encoding="ascii").split("\n")
        except FileNotFoundError as error:
            raise MasterKeyError(f"{path} does not exist: restore the master key, without it no data opens") from error
        except (OSError, UnicodeDecodeError) as error:
            raise MasterKeyError(f"{path} cannot be read: {type(error).__name__}") from error
        if lines[0] != MASTER_FORMAT:
            raise MasterKeyError(f"{path} is not a master key file: its first line is not {MASTER_FORMAT!r}")
        versions = dict(_master_line(path, line) for line in lines[1:] if line)
        if not versions:
            raise MasterKeyError(f"{path} holds no key")
        return cls(current=next(iter(versions)), versions=versions)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new key in `path` (mode 0600) and return it; an existing file is never overwritten.

        Raises:
            MasterKeyError: the file exists or cannot be written.
        """
        key = secrets.token_bytes(MASTER_BYTES)
        content = f"{MASTER_FORMAT}\n{_master_id(key)} {_encode(key)}\n"
        try:
            write_once(path, content.encode("ascii"))
        except FileExistsError as error:
            raise MasterKeyError(f"{path} exists: a master key is never overwritten") from error
        except OSError as error:
            raise MasterKeyError(f"{path} cannot be written: {type(error).__name__}") from error
        return cls.load(path)

    def derive(self, purpose: str, version: str | None = None) -> bytes:
        """Return the 32-byte key of `purpose` (HKDF-SHA256, the purpose as info) under a version of the master key.

        Raises:
            SealBroken: this file holds no such version.
        """
        version = version or self.current
        if version not in self.versions:
            raise SealBroken(f"sealed under master key {version}, which is not in the key file")
        known = self._derived.get((version, purpose))
        if known is None:
            hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"crm-hub|{purpose}".encode())
            known = self._derived[version, purpose] = hkdf.derive(self.versions[version])
        return known


def _master_id(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:8]


def _master_line(path: Path, line: str) -> tuple[str, bytes]:
    key_id, _, encoded = line.partition(" ")
    try:
        key = _decode(encoded.strip())
    except (ValueError, Base64Error) as error:
        raise MasterKeyError(f"{path}: key {key_id[:8]!r} is not base64url") from error
    if len(key) != MASTER_BYTES:
        raise MasterKeyError(f"{path}: key {key_id[:8]!r} is {len(key)} bytes long, not {MASTER_BYTES}")
    if _master_id(key) != key_id:
        raise MasterKeyError(f"{path}: key {key_id[:8]!r} does not match its id: the file is damaged")
    return key_id, key


def write_once(path: Path, content: bytes) -> None:
    """Write a secret file (mode 0600) so that it appears complete or not at all, and only if it is not there yet.

    Raises:
        FileExistsError: somebody else made it first.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails when the name is taken.
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


# --- data keys ----------------------------------------------------------------------------------------------------


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
        parts = _parse(sealed)
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
        return _encode(self._suite.mac(key.secret, normalised.encode()))

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
            parts = _parse(row.wrapped)
            wrapping = self._master.derive("wrap", parts.key_id)
            secret = parts.suite.open(wrapping, parts.box, _wrap_aad(row.id, row.purpose))
            key = self._by_id[row.id] = _DataKey(row.id, row.purpose, secret, row.retired_at is None)
            if key.active:
                self._active[row.purpose] = key


def _wrap_aad(key_id: str, purpose: str) -> bytes:
    return f"data_key|{key_id}|{purpose}".encode()


# --- messages -----------------------------------------------------------------------------------------------------


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
        parts = _parse(sealed)
        key = self._master.derive(f"wire|{purpose}", parts.key_id)
        return parts.suite.open(key, parts.box, purpose.encode()).decode()


def fingerprint(master: MasterKey, body: bytes) -> str:
    """Return a keyed hash of a request body (43 characters): tells two bodies apart, tells nothing of what they hold.

    A new master key gives new fingerprints; keep idempotency rows (24 h) in mind when rotating it.
    """
    return _encode(SUITE_V1.mac(master.derive("fingerprint"), body))
