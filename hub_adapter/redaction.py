"""Previews of what went over the wire, fit to be kept and shown: no secret, no credential, no personal data in full."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

PREVIEW_BYTES = 20_000
_LOOKED_AT = 4 * PREVIEW_BYTES  # redact first, cut afterwards: a cut through a secret would leave half of it
_GONE = "[redacted]"
_SHOWN_HEADERS = ("content-type", "content-length", "retry-after", "etag", "location", "date", "x-request-id")

# Each begins with the set of its words' first letters: the engine runs along to one of them, and tries nothing before.
# What may follow within a name is bounded: a text of nothing but such words would take time by its square.
_CREDENTIAL = re.compile(
    r"""(?x) ( [PpSsTtAaRrCc] (?i: (?: (?<=p)assw(?:or)?d | (?<=s)ecret | (?<=t)oken | (?<=a)pi[_-]?key
        | (?<=r)est[_-]?key | (?<=a)uthorization | (?<=c)redential ) [a-z_-]{0,64} ["']? \s*[:=]\s* ) )
        (?: "(?:[^"\\]|\\.)*" | '[^']*' | [^\s,;&}"'\]]+ )"""
)
# A name's first character, and the rest up to the @. One that follows another address begins at what separates them.
_EMAIL = re.compile(
    r"""(?x) (?: (?<![A-Za-z0-9._%+-]) ([A-Za-z0-9._%+-]) [A-Za-z0-9._%+-]*? | ([%+_]) [A-Za-z0-9._%+-]{0,63}? )
        (?:@|%40) ([A-Za-z0-9.-]{1,190})"""
)
_STREET = re.compile(
    r"""(?x) ( [SsAa] (?i: (?: (?<=s)treet | (?<=a)ddress_?line ) [a-z0-9_]{0,64} \\{0,3} ["']? ) )
        (?: (\s*[:=]\s*) (\\{0,3}["']) (?: (?!\3) (?: \\. | [^\\] ) )+ \3 | (=) [^\s,;&}"'\]]+ )"""
)
# ASCII only, not \w: in Chinese a number stands between letters without a space.
# The empty groups are where a number is cut: what stands before them is shown.
_PHONE = re.compile(
    r"""(?x) [+%018] (?<![A-Za-z0-9_].) (?:
          (?<!\..) (?: (?: (?: (?<=\+) | (?<=%)2[Bb] ) \d{1,3} | (?<=0)086 | (?<=8)6 ) [ .-]? 1 | (?<=1) )
              [3-9]\d () [ .-]? \d{4} [ .-]? \d{4}
        | (?: (?<=\+) | (?<=%)2[Bb] ) \d{3} () \d{6,12} ) (?![A-Za-z0-9_])"""
)


class Redactor:
    """Knows the secrets of one connection in each spelling that a wire format gives them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {form for secret in secrets if secret for form in _spellings(secret)}
        alternatives = "|".join(re.escape(form) for form in sorted(spellings, key=len, reverse=True))
        self._secrets = re.compile(alternatives) if alternatives else None

    def text(self, text: str) -> str:
        """The text with secrets, named credentials and streets, e-mail addresses and phone numbers made unreadable."""
        if self._secrets is not None:
            text = self._secrets.sub(_GONE, text)
        text = _CREDENTIAL.sub(rf"\1{_GONE}", text)
        text = _STREET.sub(_masked_street, text)
        if "@" in text or "%40" in text:
            text = _EMAIL.sub(r"\1\2***@\3", text)
        return _PHONE.sub(_masked_phone, text)

    def preview(self, first_line: str, headers: Mapping[str, str], body: bytes | str | None) -> str:
        """At most `PREVIEW_BYTES` of UTF-8: the first line, the harmless headers, the body."""
        shown = "".join(f"{name}: {value}\n" for name, value in headers.items() if name.lower() in _SHOWN_HEADERS)
        content = body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""
        text = self.text(f"{first_line}\n{shown}\n{_plain(content[:_LOOKED_AT])}")
        return text.encode()[:PREVIEW_BYTES].decode("utf-8", "ignore")


def _plain(text: str) -> str:
    r"""JSON with its escapes (\uXXXX) written out, so that a person can read Chinese in it; anything else as it is."""
    if "\\" not in text:
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return text


def _spellings(secret: str) -> set[str]:
    raw = secret.encode()
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]} | {form.rstrip("=") for form in encoded}


def _masked_street(found: re.Match[str]) -> str:
    name, colon, quoted, equals = found.groups()
    return f"{name}{colon}{quoted}***{quoted}" if quoted else f"{name}{equals}***"


def _masked_phone(found: re.Match[str]) -> str:
    cut = found.end(found.lastindex or 0)
    return f"{found.string[found.start() : cut]}****{found[0][-4 if found.lastindex == 1 else -3 :]}"
