"""What somebody hands to a verb in a file, or on standard input: settings, mappings, code tables, secrets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hub.trouble import Trouble

STDIN = "-"


def text(file: str) -> str:
    """Return what stands in a file; of `-` what comes in on standard input.

    Raises:
        Trouble: it cannot be read, or is no UTF-8.
    """
    try:
        return sys.stdin.read() if file == STDIN else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Trouble(f"{file} cannot be read ({error.strerror})", "name a file that exists") from error
    except UnicodeDecodeError as error:
        raise Trouble(f"{file} cannot be read ({error.reason})", "save it as UTF-8") from error


def document(file: str) -> Any:
    """Return the JSON document that stands in a file, or comes in on standard input.

    Raises:
        Trouble: it cannot be read, or is no JSON; what it holds is not told, for it may be a secret.
    """
    return parsed(text(file), "standard input" if file == STDIN else file)


def parsed(given: str, named: str) -> Any:
    """Return the JSON document that was given, as `named` in what is said of one that is none."""
    try:
        return json.loads(given)
    except ValueError as error:
        raise Trouble(f"{named} is no JSON ({error})", "write it as {\"name\": \"value\"}") from error
