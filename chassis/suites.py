"""The ciphers behind sealed texts, by the prefix that such a text begins with."""

from __future__ import annotations

import base64
import secrets
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC

NONCE_BYTES = 12


class SealBroken(ValueError):
    """The sealed text was not made with these keys for this place, or has been changed since."""


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
        return f"{self.prefix}.{key_id}.{encode(nonce + self.cipher(key).encrypt(nonce, plain, aad))}"

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


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(encoded: str) -> bytes:
    """Return what `encode` was given.

    Raises:
        ValueError: not base64url.
    """
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)


class Parts(NamedTuple):
    """A sealed text, taken apart."""

    suite: Suite
    key_id: str
    box: bytes


def parse(sealed: str) -> Parts:
    """Take a sealed text apart, without opening it.

    Raises:
        SealBroken: it has another form, or was made with a suite that is not known here.
    """
    try:
        prefix, key_id, encoded = sealed.split(".")
        return Parts(SUITES[prefix], key_id, decode(encoded))
    except (ValueError, KeyError, Base64Error) as error:
        raise SealBroken("not a sealed text of this hub") from error
