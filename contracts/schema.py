"""The vocabulary of contract schemas, and how a value is packed for the wire.

A request refuses fields it does not know; a record or event ignores them, so that a newer sender does not break an
older listener. `Sensitive` fields are ciphertext in every message: the chassis installs the codec.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, ClassVar, Protocol

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

from contracts.errors import Invalid
from contracts.masks import IS_MASKED, Mask


class Codec(Protocol):
    """Seals text for a message and opens it again."""

    def seal(self, text: str, purpose: str) -> str:
        """Return `text` as ciphertext."""
        ...

    def open(self, sealed: str, purpose: str) -> str:
        """Return what `seal` was given.

        Raises:
            ValueError: `sealed` was not made by this hub, or was changed on the way.
        """
        ...


_codec: Codec | None = None
_on_the_wire: ContextVar[bool] = ContextVar("on_the_wire", default=False)


def install_codec(codec: Codec) -> None:
    """Set the codec with which this process packs and unpacks sensitive fields."""
    global _codec
    _codec = codec


def _require_codec() -> Codec:
    if _codec is None:
        raise RuntimeError("no codec is installed: sensitive fields cannot travel in clear")
    return _codec


class _Plain(Schema):
    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Return a value by its name. marshmallow would also look for paths and positions, which cost a third of it."""
        return obj.get(attr, default) if isinstance(obj, Mapping) else getattr(obj, attr, default)


class Request(_Plain):
    """What a caller asks. Unknown fields are refused."""

    error_messages = {"type": "Must be an object."}  # noqa: RUF012 (marshmallow's way)

    class Meta:
        unknown = RAISE


class Record(_Plain):
    """What a service answers or announces. Unknown fields are ignored.

    Attributes:
        masked_as: the entity by whose right `unmask` the fields with a mask are shown; empty where none has one.
        reached_through: the entity by whose rights such a record is found, where it has no `owner_id` of its own.
    """

    masked_as: ClassVar[str] = ""
    reached_through: ClassVar[str] = ""

    class Meta:
        unknown = EXCLUDE


class Empty(Record):
    """An answer that says nothing but that it was done."""


class Sensitive(fields.String):
    """Text that is ciphertext in every message: phone numbers, addresses, secrets.

    Args:
        mask: what whoever may read the record, but not this value, is shown in its place; None where there is no such.
    """

    def __init__(self, *, mask: Mask | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask = mask

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        text = super()._serialize(value, attr, obj, **kwargs)
        return _require_codec().seal(text, "wire") if text is not None and _on_the_wire.get() else text

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not _on_the_wire.get():
            return text
        try:
            return self.opened(text)
        except ValueError as error:
            raise ValidationError("Cannot be decrypted with this hub's keys.") from error

    def opened(self, sealed: str) -> str:
        """Return the text of a packed value.

        Raises:
            ValueError: it does not open with this hub's keys.
        """
        return _require_codec().open(sealed, "wire")

    def masked(self, sealed: str) -> str:
        """Return the packed mask of a packed value; an empty one has none.

        Raises:
            ValueError: it does not open with this hub's keys.
        """
        assert self.mask is not None  # noqa: S101 (asked of fields with a mask alone)
        text = self.opened(sealed)
        return _require_codec().seal(self.mask(text), "wire") if text else sealed


class SensitiveObject(fields.Dict):
    """A JSON object that is one ciphertext, `{"sealed": "..."}`, in every message.

    One that comes in clear is taken as it is: what an older sender says is understood for ever.
    """

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        if value is None or not _on_the_wire.get() or self.is_public(obj):
            return super()._serialize(value, attr, obj, **kwargs)  # type: ignore[no-untyped-call]
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return {"sealed": _require_codec().seal(text, "wire")}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if _on_the_wire.get():
            try:
                value = self.opened(value)
            except ValueError as error:
                raise ValidationError("Cannot be decrypted with this hub's keys.") from error
        return super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]

    def opened(self, value: Any) -> Any:
        """Return the object of a packed value.

        Raises:
            ValueError: it does not open with this hub's keys.
        """
        if isinstance(value, Mapping) and value.keys() == {"sealed"}:
            return json.loads(_require_codec().open(value["sealed"], "wire"))
        return value

    def is_public(self, obj: Any) -> bool:
        """Tell whether the object, in its message `obj`, holds nothing about a person and may travel in clear."""
        return False


class Money(fields.Field[Decimal]):
    """An exact amount as a decimal string with at most `places` decimals; the currency stands beside it."""

    default_error_messages = {  # noqa: RUF012 (marshmallow's way)
        "invalid": "Must be a decimal number written as a string, such as \"199.00\".",
        "places": "Has more than {places} decimals.",
        "range": "Is larger than can be kept.",
    }

    def __init__(self, *, places: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.places = places

    def _serialize(self, value: Decimal | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else f"{Decimal(value):f}"

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Decimal:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        try:
            amount = Decimal(value)
        except InvalidOperation as error:
            raise self.make_error("invalid") from error
        if not amount.is_finite():
            raise self.make_error("invalid")
        if -int(amount.as_tuple().exponent) > self.places:
            raise self.make_error("places", places=self.places)
        if abs(amount) >= Decimal(10) ** 14:
            raise self.make_error("range")
        return amount


def _instant(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds")[:-6] + "Z"


class Timestamp(fields.Field[dt.datetime]):
    """An instant: RFC 3339 in UTC, `2026-11-22T08:00:00.000000Z`. An offset is accepted and converted."""

    default_error_messages = {  # noqa: RUF012 (marshmallow's way)
        "invalid": "Must be an RFC 3339 time with an offset, such as 2026-11-22T08:00:00Z."
    }

    def _serialize(self, value: dt.datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else _instant(value)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> dt.datetime:
        try:
            instant = dt.datetime.fromisoformat(value)
        except (TypeError, ValueError) as error:
            raise self.make_error("invalid") from error
        if instant.tzinfo is None:
            raise self.make_error("invalid")
        return instant.astimezone(dt.UTC)


class Identifier(fields.String):
    """The id of a record: opaque, sortable by time of creation (UUIDv7 text, 36 characters)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=validate.Regexp(r"^[0-9a-f-]{36}\Z", error="Is not a record id."), **kwargs)


class Text(fields.String):
    """Text for people: surrounding blanks removed, no control characters, between `least` and `most` characters."""

    def __init__(self, *, most: int = 200, least: int = 0, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=least, max=most), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs).strip()
        # PostgreSQL cannot keep NUL, and the ERP's XML reports cannot carry the other control characters.
        if any((ord(c) < 32 and c not in "\n\t") or 0xD800 <= ord(c) <= 0xDFFF for c in text):
            raise ValidationError("Holds control characters.")
        return text


class Entries(fields.Dict):
    """An object whose names are the caller's own. A refused name or value is told at that name's own pointer."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            if not isinstance(error.messages, dict):
                raise
            raise ValidationError({name: _of_entry(told) for name, told in error.messages.items()}) from error


def _of_entry(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what marshmallow tells of an entry's `key` and `value` as the messages of the entry."""
    below = told.get("value", {})
    entry: dict[str, Any] = dict(below) if isinstance(below, dict) else {"_schema": below}
    return {**entry, "_schema": [*told.get("key", ()), *entry.get("_schema", ())]}


class PageRequest(Request):
    """One page of a list: at most `limit` records after `cursor`."""

    limit = fields.Integer(strict=False, load_default=50, validate=validate.Range(min=1, max=200))
    cursor = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=2000))


class ById(Request):
    """Names one record."""

    id = Identifier(required=True)


class OneOf(validate.OneOf):
    """A choice, whose message names the choices."""

    def __init__(self, *choices: str) -> None:
        super().__init__(choices, error="Must be one of: {choices}.")


@cache
def page_of(record: type[Record]) -> type[Record]:
    """Return the schema of a page of `record`: `items`, and `next`, the cursor of the next page or null at the end."""
    name = f"{record.__name__}Page"
    return type(name, (Record,), {
        "__doc__": f"One page of {record.__name__}.",
        "items": fields.List(fields.Nested(record), required=True),
        "next": fields.String(required=True, allow_none=True),
    })


@contextmanager
def _wire() -> Iterator[None]:
    token = _on_the_wire.set(True)
    try:
        yield
    finally:
        _on_the_wire.reset(token)


@cache
def instance_of(schema: type[Schema]) -> Schema:
    """Return the one instance of a schema; making one costs more than using it."""
    return schema()


@dataclass(frozen=True)
class Packed:
    """A record that is packed already, for a change whose event and answer say the same."""

    schema: type[Schema]
    data: dict[str, Any]

    @classmethod
    def of(cls, schema: type[Schema], value: Any) -> Packed:
        """Pack `value` as it is now."""
        return cls(schema, pack(schema, value))


def pack(schema: type[Schema], value: Any) -> dict[str, Any]:
    """Return `value` as it travels in a message: JSON-ready, sensitive fields sealed.

    Raises:
        TypeError: `value` is packed already, as something else.
    """
    if isinstance(value, Packed):
        if value.schema is not schema:
            raise TypeError(f"packed as {value.schema.__name__}, not as {schema.__name__}")
        return value.data
    with _wire():
        packed: dict[str, Any] = instance_of(schema).dump(value)
    return packed


def unpack(schema: type[Schema], data: Any) -> dict[str, Any]:
    """Return what `pack` was given, as Python values.

    Raises:
        Invalid: with every refused field named by its pointer.
    """
    with _wire():
        return load(schema, data)


def load(schema: type[Schema], data: Any) -> dict[str, Any]:
    """Return `data`, in clear, as Python values.

    Raises:
        Invalid: with every refused field named by its pointer.
    """
    try:
        loaded: dict[str, Any] = instance_of(schema).load(data)
    except ValidationError as error:
        raise Invalid("The request holds values that were refused", errors=list(refusals(error.messages))) from error
    return loaded


def dump(schema: type[Schema], value: Any) -> dict[str, Any]:
    """Return `value` JSON-ready and in clear: for the HTTP side of the gateway, never for a message."""
    dumped: dict[str, Any] = instance_of(schema).dump(value)
    return dumped


def canonical(loaded: Mapping[str, Any]) -> str:
    """Return a loaded request as JSON text that is the same for every way to write the same request."""
    return json.dumps(loaded, sort_keys=True, ensure_ascii=False, default=_one_form)


def _one_form(value: object) -> str:
    if isinstance(value, dt.datetime):
        return _instant(value)
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, dt.date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no value of a request")


def attributes(schema: type[Schema], record: object) -> dict[str, Any]:
    """Return those attributes of `record` that `schema` names, as they are: for an answer or event that says more."""
    return {name: getattr(record, name) for name in instance_of(schema).fields}


_CODES = {"Unknown field.": "unknown_field", "Missing data for required field.": "required",
          "Field may not be null.": "null", IS_MASKED: "masked"}


def refusals(messages: Any, pointer: str = "") -> Iterator[dict[str, str]]:
    """Yield each refused field of a marshmallow error tree as `{pointer, code, message}` (RFC 6901 pointers)."""
    if isinstance(messages, Mapping):
        for key, below in messages.items():
            step = str(key).replace("~", "~0").replace("/", "~1")
            yield from refusals(below, pointer if key == "_schema" else f"{pointer}/{step}")
    elif isinstance(messages, list):
        for message in messages:
            yield from refusals(message, pointer)
    else:
        yield {"pointer": pointer, "code": _CODES.get(str(messages), "invalid"), "message": str(messages)}
