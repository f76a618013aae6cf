"""What the gateway reads from a client, and where it stops: body size and time, JSON nesting, well-formedness."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

from werkzeug.wrappers import Request

from contracts.errors import BadRequest, Invalid
from gateway.errors import ContentTooLarge, MalformedJson, RequestTimeout

_CHUNK = 65_536
_INT64 = 1 << 63
_ESCAPE = re.compile(rb"\\u", re.IGNORECASE)
_DIGITS = 19


class Clock(Protocol):
    """Cuts a block of code off after some seconds; eventlet's `Timeout` in the server."""

    def __call__(self, seconds: float, exception: BaseException) -> AbstractContextManager[Any]:
        """Return the context in which `exception` is raised after `seconds`."""
        ...


def read_body(request: Request, most: int, seconds: float, clock: Clock) -> bytes:
    """Return the body of `request`.

    A body that declares too much is refused before a byte of it is read; a chunked one as soon as it is too much.

    Args:
        request: its stream must not have been read.
        most: bytes.
        seconds: for the whole body, however it is cut into packets.
        clock: what cuts it off.

    Raises:
        ContentTooLarge: more than `most` bytes.
        RequestTimeout: not complete after `seconds`.
        BadRequest: cut off, or not framed as HTTP asks.
    """
    declared = request.headers.get("Content-Length", type=int)
    chunked = "Transfer-Encoding" in request.headers
    if declared is not None and declared > most:
        raise ContentTooLarge(f"The body declares {declared} bytes; the most is {most}", most=most)
    if not declared and not chunked:
        return b""
    try:
        with clock(seconds, RequestTimeout(f"The body did not arrive within {seconds:g} s")):
            return _read(request.environ["wsgi.input"], declared, most)
    except (OSError, ValueError) as error:
        raise BadRequest("The body ended early or is not framed as HTTP asks") from error


def _read(stream: BinaryIO, declared: int | None, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while declared is None or size < declared:
        part = stream.read(_CHUNK if declared is None else min(_CHUNK, declared - size))
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > most:
            raise ContentTooLarge(f"The body is larger than {most} bytes", most=most)
    if declared is not None and size < declared:
        raise BadRequest("The body ended before its declared length")
    return b"".join(parts)


def parse_json(body: bytes, most_depth: int) -> Any:
    """Return the JSON value in `body`, held to what every JSON reader understands alike (RFC 7493).

    Raises:
        MalformedJson: not JSON in UTF-8, a duplicate key, NaN or Infinity, a number beyond 64 bits, nested deeper than
            `most_depth`, or half of a surrogate pair.
        Invalid: text holds NUL, which databases cannot keep.
    """
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_int=_whole,
            parse_float=_float,
        )
    except UnicodeDecodeError as error:
        raise MalformedJson("The body is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise MalformedJson(f"The body is not JSON: line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise MalformedJson(f"The body is nested deeper than {most_depth}") from error
    if _deeper_than(value, most_depth):
        raise MalformedJson(f"The body is nested deeper than {most_depth}")
    if _ESCAPE.search(body):
        _check_text(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise MalformedJson("The body holds an object with a duplicate key")
    return result


def _constant(name: str) -> Any:
    raise MalformedJson(f"The body holds {name}, which is not JSON")


def _whole(digits: str) -> int:
    # Looked at as text first: turning a million digits into a number takes quadratic time.
    if len(digits.lstrip("-")) > _DIGITS or not -_INT64 <= int(digits) < _INT64:
        raise MalformedJson("The body holds a whole number beyond 64 bits")
    return int(digits)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise MalformedJson("The body holds a number beyond what 64-bit floating point can say")
    return number


def _deeper_than(value: Any, most: int) -> bool:
    level: list[Any] = [value]
    for _ in range(most + 1):
        level = [child for node in level if isinstance(node, dict | list) for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node


def _check_text(value: Any) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedJson("The body holds half of a surrogate pair") from error
    if "\\u0000" in text:
        refused = [{"pointer": pointer, "code": "invalid", "message": "Holds control characters."}
                   for pointer in _nul_pointers(value)]
        if refused:
            raise Invalid("The request holds values that were refused", errors=refused)


def _nul_pointers(value: Any, pointer: str = "") -> Iterable[str]:
    if isinstance(value, str):
        if "\0" in value:
            yield pointer
    elif isinstance(value, dict):
        for key, child in value.items():
            if "\0" in key:
                yield pointer
            yield from _nul_pointers(child, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _nul_pointers(child, f"{pointer}/{index}")
