"""The master key: one file, outside every database and backup, that opens everything else."""

from __future__ import annotations

import hashlib
import secrets
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chassis.private import mode_of, open_to_others, write_once
from chassis.suites import SealBroken, decode, encode

MASTER_FORMAT = "hub-master-key 1"
MASTER_BYTES = 32


class MasterKeyError(Exception):
    """The master key file cannot be used; the text says why and what to do."""


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
            if open_to_others(path):
                raise MasterKeyError(f"{path} has mode {mode_of(path):04o}; others may read it: chmod 600 it")
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
        content = f"{MASTER_FORMAT}\n{_master_id(key)} {encode(key)}\n"
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
        key = decode(encoded.strip())
    except (ValueError, Base64Error) as error:
        raise MasterKeyError(f"{path}: key {key_id[:8]!r} is not base64url") from error
    if len(key) != MASTER_BYTES:
        raise MasterKeyError(f"{path}: key {key_id[:8]!r} is {len(key)} bytes long, not {MASTER_BYTES}")
    if _master_id(key) != key_id:
        raise MasterKeyError(f"{path}: key {key_id[:8]!r} does not match its id: the file is damaged")
    return key_id, key
