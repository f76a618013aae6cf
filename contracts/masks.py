"""How a sensitive value looks to whoever may read the record but not the value: enough of it to recognise, no more.

A mask always holds three stars in a row, and no true value does: so a masked value that comes back is known on sight.
"""

from __future__ import annotations

from collections.abc import Callable

from marshmallow import ValidationError

Mask = Callable[[str], str]
"""Returns what is shown in the place of a value."""

STARS = "***"
IS_MASKED = "Is masked: send the whole value, or leave the field out."


def phone(number: str) -> str:
    """Return a number without the four digits before its last four: `13812345678` becomes `138****5678`."""
    return f"{number[:-8]}****{number[-4:]}" if len(number) > 8 else f"****{number[-2:]}"


def email(address: str) -> str:
    """Return an address with the first character of its name, and its domain: `z***@example.com`."""
    name, at, domain = address.rpartition("@")
    return f"{name[:1]}{STARS}{at}{domain}" if at else STARS


def account(name: str) -> str:
    """Return the first and the last character of a name in some messenger: `w***8`."""
    return f"{name[0]}{STARS}{name[-1]}" if len(name) > 3 else STARS


def whole(_text: str) -> str:
    """Return nothing of a text but that there is one."""
    return STARS


class Unmasked:
    """A validator: refuses a value that is a mask, for it would overwrite the true one."""

    def __call__(self, value: str) -> None:
        """Refuse it.

        Raises:
            ValidationError: it holds three stars in a row.
        """
        if STARS in value:
            raise ValidationError(IS_MASKED)
