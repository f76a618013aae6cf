"""What sealer and verification agree on: the bytes that are hashed, the checkpoint that is signed, and with what key.

An entry's hash is the SHA-256 of its canonical JSON (RFC 8785) together with the name of its service and the hash of
the entry before it. Its number is not in it: that a moved entry is whole, and only out of place, is worth knowing. The
checkpoint signs number and hash together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chassis.audit.tables import AUDIT_ENTRY
from chassis.master import MasterKey
from chassis.suites import SealBroken, decode, encode

HASHED = tuple(column.name for column in AUDIT_ENTRY.columns if column.name not in {"seq", "hash"})
"""The columns of an entry that its hash covers."""


def hash_of(service: str, entry: Mapping[str, Any]) -> str:
    """Return the hash of an entry (64 hexadecimal digits); `entry` holds its columns, `prev` among them."""
    document = {name: entry[name] for name in HASHED} | {"service": service}
    return hashlib.sha256(rfc8785.dumps(document)).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """What the sealer swears to: entry number `seq` of `service` had this hash at that time.

    Attributes:
        kid: which key signed it, the id of a version of the master key.
        signature: Ed25519 (RFC 8032) over the canonical JSON of all the rest, in base64url.
    """

    service: str
    seq: int
    hash: str
    at: str
    kid: str
    signature: str = ""

    @property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return rfc8785.dumps({name: value for name, value in asdict(self).items() if name != "signature"})

    def line(self) -> bytes:
        """Return it as one line of the file of checkpoints."""
        return rfc8785.dumps(asdict(self)) + b"\n"

    @classmethod
    def read(cls, line: str) -> Self:
        """Return the checkpoint of such a line.

        Raises:
            ValueError: it is none.
        """
        said = json.loads(line)
        if not isinstance(said, dict) or said.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("not a checkpoint")
        found = cls(**said)
        if not all(isinstance(value, int if name == "seq" else str) for name, value in said.items()):
            raise ValueError("not a checkpoint")
        return found


class Keys:
    """The keys that one service signs its checkpoints with, one for each version of the master key.

    Derived, so that every process of the service has them and there is no file more to lose.
    """

    def __init__(self, master: MasterKey, service: str) -> None:
        self._master = master
        self._service = service
        self._public: dict[str, Ed25519PublicKey] = {}

    def sign(self, seq: int, hash: str, at: str) -> Checkpoint:
        """Return a checkpoint, signed with the current key."""
        kid = self._master.current
        unsigned = Checkpoint(self._service, seq, hash, at, kid)
        return Checkpoint(self._service, seq, hash, at, kid, encode(self._private(kid).sign(unsigned.signed)))

    def genuine(self, checkpoint: Checkpoint) -> bool:
        """Tell whether this service signed it, with any key of this master key file."""
        try:
            public = self._public.get(checkpoint.kid) or self._private(checkpoint.kid).public_key()
            self._public[checkpoint.kid] = public
            public.verify(decode(checkpoint.signature), checkpoint.signed)
        except (SealBroken, InvalidSignature, ValueError):
            return False
        return checkpoint.service == self._service

    def _private(self, kid: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._master.derive(f"audit|{self._service}", kid))
