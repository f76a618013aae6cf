"""Searches files for values that must be found in clear nowhere, however they may be spelled."""

from __future__ import annotations

import base64
import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote


def spellings(*values: str) -> dict[str, bytes]:
    """Return the ways in which text may lie in a file, by name: as it is, in other cases, encodings and alphabets.

    A phone number is also sought by its digits without the country, and as people group them; an email address by
    what stands before the @. What holds a shorter sign is not sought by itself.
    """
    signs: dict[bytes, str] = {}
    for form in (form for value in values for form in _forms(value)):
        for text in {form, form.lower(), form.upper()}:
            # Without its last zero, so that it is found in either order of bytes.
            signs |= {quote(text, safe="").encode(): f"{text} url", text.encode(): f"{text} utf-8",
                      text.encode("utf-16-le")[:-1]: f"{text} utf-16", text.encode().hex().encode(): f"{text} hex"}
            signs |= {sign: f"{text} base64+{shift}" for shift, sign in enumerate(_base64(text))}
    return {name: sign for sign, name in signs.items() if not any(one in sign and one != sign for one in signs)}


def _forms(value: str) -> Iterator[str]:
    yield value
    if value.startswith("+86"):
        national = value[3:]
        groups = (national[:3], national[3:7], national[7:])
        yield from (national, " ".join(groups), "-".join(groups))
    elif "@" in value:
        yield value.partition("@")[0]


def _base64(text: str) -> Iterator[bytes]:
    """Yield the part of the base64 of `text` that its neighbours cannot change, for each of the three alignments."""
    raw = text.encode()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw)
        yield whole[-(-shift * 4 // 3):(shift + len(raw)) // 3 * 4]


def files_below(*folders: Path) -> Iterator[Path]:
    """Yield every file below `folders`, sockets and links left out."""
    for folder in folders:
        yield from (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def found_in(files: Iterable[Path], signs: Mapping[str, bytes]) -> dict[str, set[str]]:
    """Return the files that hold a sign, each with the names of the signs; a file that goes away meanwhile is none."""
    found: dict[str, set[str]] = {}
    for file in files:
        try:
            with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                held = {name for name, sign in signs.items() if content.find(sign) >= 0}
        except (FileNotFoundError, ValueError):  # ValueError: an empty file cannot be mapped
            continue
        if held:
            found[str(file)] = held
    return found
