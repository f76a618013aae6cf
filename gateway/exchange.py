"""One HTTP request becomes one operation's request, and its answer becomes HTTP. Pure: no sockets, no messages."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from marshmallow import Schema, fields
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from contracts import schema
from contracts.errors import BadRequest, Invalid, NotFound, PreconditionRequired, StaleVersion
from gateway.errors import IdempotencyKeyRequired, MalformedHeader
from gateway.limits import parse_json
from gateway.locale import Language
from gateway.route import BASE_PATH, Route

JSON = "application/json"
_SELECT = "fields"
_MOST_PARAMETERS = 100
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_REFUSED = "The request holds values that were refused"


@dataclass(frozen=True)
class Arrived:
    """A request that has arrived whole, before anybody asked who sent it."""

    route: Route
    path: str
    path_args: Mapping[str, str]
    query: str
    headers: Headers
    body: bytes
    request_id: str
    traceparent: str
    language: Language
    client_address: str = ""
    most_json_depth: int = 32


@dataclass(frozen=True)
class Asked:
    """What `Arrived` asks of the operation.

    Attributes:
        request: loaded by the operation's request schema.
        select: the record's fields to answer, None for all.
        key: the client's idempotency key, if any.
    """

    request: dict[str, Any]
    select: frozenset[str] | None
    key: str | None


def understand(arrived: Arrived) -> Asked:
    """Return what the client asks, or every reason why it cannot be understood, at once.

    Raises:
        Invalid: values were refused; a pointer into the body, or `?name` of the query.
        NotFound: a path argument is no id.
        PreconditionRequired, StaleVersion, MalformedHeader, IdempotencyKeyRequired, MalformedJson: as they say.
    """
    route = arrived.route
    data: dict[str, Any] = {route.fields_of_path[name]: value for name, value in arrived.path_args.items()}
    told = {"address": arrived.client_address, "user_agent": arrived.headers.get("User-Agent", "")[:1000],
            "headers": {name.lower(): value for name, value in arrived.headers.items() if name.lower() != "cookie"}}
    data |= {name: told[source] for name, source in route.told.items()}
    if route.needs_version or (route.takes_version and "If-Match" in arrived.headers):
        data["expected_version"] = _expected_version(arrived.headers)
    key = _idempotency_key(arrived)
    query, faults = _query(arrived)
    select = query.pop(_SELECT, None)
    if route.reads:
        data |= query
    elif route.raw:
        data[route.raw] = base64.b64encode(arrived.body).decode()
    elif route.body != "none" or arrived.body:
        data |= _from_body(arrived)
    if not route.reads:
        faults += _loose(route.request_schema, data)
    request: dict[str, Any] = {}
    try:
        request = schema.load(route.operation.request, data)
    except Invalid as error:
        faults += error.fields["errors"]
    if faults:
        raise _refusal(route, faults)
    return Asked(request=request, select=select, key=key)


def _from_body(arrived: Arrived) -> dict[str, Any]:
    route = arrived.route
    if not arrived.body and route.body != "required":
        return {}
    if not arrived.body:
        raise BadRequest(_body_needed(route))
    value = parse_json(arrived.body, arrived.most_json_depth)
    if route.takes_changes:
        return {"changes": value}
    if not isinstance(value, dict):
        raise Invalid.of("", "invalid", "Must be an object.")
    hidden = {name: value[name] for name in value if name in route.request_fields and name not in route.free_fields}
    if hidden:
        # What the path and If-Match say cannot be said a second time, differently.
        raise Invalid(_REFUSED, errors=[
            {"pointer": f"/{name}", "code": "unknown_field", "message": "Unknown field."} for name in hidden
        ])
    return value


def _body_needed(route: Route) -> str:
    needed = "` and `".join(name for name, declared in route.free_fields.items() if declared.required)
    return "A JSON body is needed" + ("" if route.takes_changes else f", with `{needed}`")


def _query(arrived: Arrived) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return the parameters by name and what is wrong with them."""
    route = arrived.route
    try:
        pairs = parse_qsl(arrived.query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise BadRequest(f"The query cannot be read: not UTF-8, or more than {_MOST_PARAMETERS} parameters") from error
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    faults: list[dict[str, str]] = []
    values: dict[str, Any] = {}
    for name, texts in given.items():
        if any("\0" in text for text in texts):
            faults.append(_fault(name, "invalid", "Holds control characters."))
        elif name == _SELECT and route.reads:
            values[name], refused = _selection(route, texts)
            faults += refused
        elif not route.reads or name not in route.free_fields:
            faults.append(_fault(name, "unknown_field", "Unknown field."))
        elif isinstance(route.free_fields[name], fields.List):
            values[name] = [part for text in texts for part in text.split(",")]
        elif len(texts) > 1:
            faults.append(_fault(name, "repeated", "May be given once only."))
        else:
            values[name] = texts[0]
    return values, faults


def _fault(parameter: str, code: str, message: str) -> dict[str, str]:
    return {"pointer": f"?{parameter}", "code": code, "message": message}


def _selection(route: Route, texts: list[str]) -> tuple[frozenset[str], list[dict[str, str]]]:
    names = frozenset(name for text in texts for name in text.split(",") if name)
    if not names:
        return names, [_fault(_SELECT, "invalid", "Name at least one field.")]
    unknown = sorted(names - set(route.answer_fields))
    message = f"Is not a field of this record: {', '.join(unknown)}."
    return names, [_fault(_SELECT, "unknown_field", message)] if unknown else []


def _refusal(route: Route, faults: list[dict[str, str]]) -> Invalid | NotFound:
    """Return the error for all refused fields: 404 where the path names no record, else 422."""
    in_path = {f"/{name}" for name in route.fields_of_path.values()}
    if any(fault["pointer"] in in_path for fault in faults):
        return NotFound()
    seen: dict[str, dict[str, str]] = {}
    for fault in faults:
        pointer = _sent_at(route, fault["pointer"])
        seen.setdefault(pointer, {**fault, "pointer": pointer})
    return Invalid(_REFUSED, errors=list(seen.values()))


def pointed(route: Route, error: Invalid) -> Invalid:
    """Return what a service refuses with each place named as the client sent it."""
    errors = [{**fault, "pointer": _sent_at(route, fault["pointer"])} for fault in error.fields.get("errors", ())]
    return Invalid(error.message, **error.fields | {"errors": errors})


def _sent_at(route: Route, pointer: str) -> str:
    if route.reads and pointer.startswith("/"):
        return "?" + pointer[1:].split("/")[0]
    return pointer.removeprefix("/changes") if route.takes_changes else pointer


def _loose(asked: Schema, data: Any, pointer: str = "") -> Iterator[dict[str, str]]:
    """Yield what marshmallow would let pass: numbers and booleans of the wrong JSON type."""
    if not isinstance(data, Mapping):
        return
    for name, value in data.items():
        declared = asked.load_fields.get(name)
        below = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if declared is not None:
            yield from _loose_value(declared, value, below)


def _loose_value(declared: fields.Field[Any], value: Any, pointer: str) -> Iterator[dict[str, str]]:
    if isinstance(declared, fields.Nested) and not declared.many:
        yield from _loose(declared.schema, value, pointer)
    elif isinstance(declared, fields.List) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _loose_value(declared.inner, item, f"{pointer}/{index}")
    elif isinstance(declared, fields.Boolean) and value is not None and not isinstance(value, bool):
        yield {"pointer": pointer, "code": "invalid", "message": "Not a valid boolean."}
    elif isinstance(declared, fields.Integer) and value is not None and type(value) is not int:
        yield {"pointer": pointer, "code": "invalid", "message": "Not a valid integer."}


def _expected_version(headers: Headers) -> int:
    given = headers.get("If-Match")
    if given is None:
        raise PreconditionRequired("Send the record's ETag in If-Match")
    match = _ENTITY_TAG.fullmatch(given.strip())
    if not match:
        raise MalformedHeader("If-Match must name one version, such as \"3\"", header="If-Match")
    if match[1] or not re.fullmatch(r"[1-9][0-9]{0,17}", match[2]):
        raise StaleVersion("No version of this record has that ETag")
    return int(match[2])


def _idempotency_key(arrived: Arrived) -> str | None:
    given = arrived.headers.get("Idempotency-Key")
    if not arrived.route.takes_key:
        return None
    if given is None:
        if arrived.route.key_required:
            raise IdempotencyKeyRequired("Send an Idempotency-Key header with this request")
        return None
    if not _KEY.fullmatch(given):
        raise MalformedHeader("Idempotency-Key must be 1 to 255 printable ASCII characters", header="Idempotency-Key")
    return given


def answer(arrived: Arrived, asked: Asked, body: dict[str, Any], *, replayed: bool) -> Response:
    """Return the HTTP answer that tells what the operation answered: `body`, JSON-ready and in clear."""
    route = arrived.route
    if route.status == 204:
        response = Response(status=204)
    else:
        response = Response(json.dumps(_selected(route, body, asked.select), ensure_ascii=False), content_type=JSON)
        response.status_code = route.status
        _describe(response, arrived, body)
    secret = route.operation.unsaved or route.public
    response.headers["Cache-Control"] = "no-store" if secret else "private, no-cache"
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _describe(response: Response, arrived: Arrived, body: Mapping[str, Any]) -> None:
    """Add what the answer says about itself: ETag, Location, Link; turn it into a 304 where the client has it."""
    route = arrived.route
    if route.status == 201:
        path = route.location or f"{arrived.path.removeprefix(BASE_PATH)}/{{id}}"
        response.headers["Location"] = quote(BASE_PATH + path.format_map(body))
    if route.is_page and body.get("next"):
        pairs = [(n, v) for n, v in parse_qsl(arrived.query, keep_blank_values=True) if n != "cursor"]
        query = urlencode([*pairs, ("cursor", body["next"])])
        response.headers["Link"] = f'<{quote(arrived.path)}?{query}>; rel="next"'
    if route.etag and isinstance(body.get("version"), int):
        tag = f'"{body["version"]}"'
        response.headers["ETag"] = tag
        if route.reads and _has(arrived.headers.get("If-None-Match", ""), tag):
            response.status_code = 304
            response.set_data(b"")
            response.headers.remove("Content-Type")
            response.headers.remove("Content-Length")


def _has(if_none_match: str, tag: str) -> bool:
    given = if_none_match.strip()
    return given == "*" or any(match[0].removeprefix("W/") == tag for match in _ENTITY_TAG.finditer(given))


def _selected(route: Route, body: dict[str, Any], select: frozenset[str] | None) -> dict[str, Any]:
    if select is None:
        return body
    if route.is_page:
        return {**body, "items": [{name: item[name] for name in item if name in select} for item in body["items"]]}
    return {name: body[name] for name in body if name in select}
