"""The OpenAPI 3.1 document, made from the routes and the contracts: what is served and what is said cannot differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields

from contracts import errors
from contracts.errors import HubError
from contracts.schema import ById, Identifier, Money, Timestamp
from gateway import errors as door
from gateway import locale, problems
from gateway.examples import example_of
from gateway.route import BASE_PATH, Route

VERSION = "1.0.0"

_Converter = Any
"""apispec's OpenAPIConverter, whose methods carry no types."""
_Field = fields.Field[Any]

_ID = "0193a8f2-6c1d-7e4b-9a52-3f8e1c7d2b90"
_INTRO = """One API for customers, sales, tickets and everything that travels to other systems.

Every error is a problem document (RFC 9457) with a stable `code`; the codes are explained at `/docs/problems`. Send
`Authorization: Bearer` with a session's token or an API key. A record that you may not see answers 404. Repeat a POST
safely by sending the same `Idempotency-Key`. Change a record with the `ETag` you read, in `If-Match`.

每个错误都是带有稳定 `code` 的问题文档；错误代码说明见 `/docs/problems`。
请求时携带 `Authorization: Bearer`（会话令牌或 API 密钥）。
重试 POST 时使用同一个 `Idempotency-Key`；修改记录时在 `If-Match` 中带上读取时得到的 `ETag`。"""


def document(routes: Iterable[Route], server_url: str = "") -> dict[str, Any]:
    """Return the OpenAPI document of `routes`."""
    table = tuple(routes)
    names = _Names()
    plugin = MarshmallowPlugin(schema_name_resolver=names)
    spec = APISpec(
        title="CRM Hub", version=VERSION, openapi_version="3.1.0", plugins=[plugin],
        info={"description": _INTRO, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        servers=[{"url": server_url or "/"}], security=[{"bearer": []}],
        tags=[{"name": tag, "description": tag.replace("-", " ").capitalize()}
              for tag in dict.fromkeys(route.tag_name for route in table)],
    )
    converter: _Converter = plugin.converter
    converter.add_attribute_function(_our_fields)
    _add_components(spec)
    for route in table:
        spec.path(path=route.template, operations={route.method.lower(): _operation(route, converter)})
    made: dict[str, Any] = _tidy(spec.to_dict())
    for name, described in made["components"]["schemas"].items():
        described.update(_of_class(names.classes.get(name)))
    return made


class _Names:
    """Names schemas by their class; the second class of one name has its contract before it."""

    def __init__(self) -> None:
        self._taken: dict[str, type[Schema] | None] = {"Problem": None}
        self.classes: dict[str, type[Schema]] = {}
        """Name → class."""

    def __call__(self, schema: type[Schema] | Schema) -> str:
        cls = schema if isinstance(schema, type) else type(schema)
        name = cls.__name__.lstrip("_")
        if self._taken.setdefault(name, cls) is not cls:
            name = cls.__module__.rpartition(".")[2].capitalize() + name
        self.classes[name] = cls
        return name


def _of_class(cls: type[Schema] | None) -> dict[str, Any]:
    """Return what a schema's class says beside its fields: its meaning, and of which fields one must be given."""
    if cls is None:
        return {}
    said: dict[str, Any] = {"description": " ".join((cls.__doc__ or "").split())}
    needed: tuple[str, ...] = getattr(cls, "at_least_one_of", ())
    if needed:
        said["anyOf"] = [{"required": [name], "properties": {name: {"type": "string", "minLength": 1}}}
                         for name in needed]
    return said


def _our_fields(_converter: Any, field: _Field, **_kwargs: Any) -> dict[str, Any]:
    """Describe the contracts' own field types."""
    described = _ours(field)
    if described and field.allow_none:
        described["type"] = ["string", "null"]
    return described


def _ours(field: _Field) -> dict[str, Any]:
    if isinstance(field, Money):
        pattern = rf"^-?[0-9]{{1,14}}(\.[0-9]{{1,{field.places}}})?$"
        return {"type": "string", "pattern": pattern, "examples": ["199.00"]}
    if isinstance(field, Timestamp):
        return {"type": "string", "format": "date-time", "examples": ["2026-11-22T08:00:00.000000Z"]}
    if isinstance(field, Identifier):
        return {"type": "string", "pattern": "^[0-9a-f-]{36}$", "examples": [_ID]}
    return {}


def _add_components(spec: APISpec) -> None:
    spec.components.security_scheme("bearer", {
        "type": "http", "scheme": "bearer",
        "description": "The token of a session (`POST /api/v1/sessions`), or an API key `hub_live_<id>_<secret>`.",
    })
    spec.components.schema("Problem", _PROBLEM)
    for name, parameter in _PARAMETERS.items():
        spec.components.parameter(name, parameter["in"], {k: v for k, v in parameter.items() if k != "in"})
    for name, header in _HEADERS.items():
        spec.components.header(name, header)
    for error in _EVERY_ERROR:
        spec.components.response(_response_name(error), _problem_response(error))


_PROBLEM: dict[str, Any] = {
    "type": "object", "description": "What went wrong, for a program and for a person (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Where the code is explained."},
        "title": {"type": "string", "description": "The code in a few words, in the language of `Accept-Language`."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What happened to what."},
        "instance": {"type": "string", "description": "The request id; it finds the request in every log."},
        "code": {"type": "string", "description": "Stable; a program may act on it."},
        "errors": {"type": "array", "description": "Every refused field.", "items": {
            "type": "object", "required": ["pointer", "code", "message"], "properties": {
                "pointer": {"type": "string", "description": "JSON pointer into the body, or `?name` of the query."},
                "code": {"type": "string"}, "message": {"type": "string"},
                "line": {"type": "integer", "description": "Of a text, such as a mapping; from 1, as `column`."},
                "column": {"type": "integer"},
                "at": {"type": "string", "description": "JSON pointer through what the text says."}}}},
        "details": {"type": "object", "description": "Facts that a program may act on.", "additionalProperties": True},
    },
}

_KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"}
_VERSION_SCHEMA = {"type": "string", "pattern": '^"[1-9][0-9]{0,8}"$'}
_KEY_MEANING = "Names this intention. The same key with the same body answers what was answered before."
_VERSION_MEANING = "The ETag of the version that is changed."

_PARAMETERS: dict[str, dict[str, Any]] = {
    "IdempotencyKey": {
        "name": "Idempotency-Key", "in": "header", "required": False, "description": _KEY_MEANING,
        "schema": _KEY_SCHEMA},
    "RequiredIdempotencyKey": {
        "name": "Idempotency-Key", "in": "header", "required": True, "description": _KEY_MEANING,
        "schema": _KEY_SCHEMA, "example": "6f1f3c1e-order-7"},
    "IfMatch": {
        "name": "If-Match", "in": "header", "required": True, "description": _VERSION_MEANING,
        "schema": _VERSION_SCHEMA, "example": '"1"'},
    "OptionalIfMatch": {
        "name": "If-Match", "in": "header", "required": False, "description": _VERSION_MEANING,
        "schema": _VERSION_SCHEMA},
    "IfNoneMatch": {
        "name": "If-None-Match", "in": "header", "required": False,
        "description": "The ETag that the client holds; 304 when it is still the present one.",
        "schema": {"type": "string"}},
    "RequestId": {
        "name": "X-Request-Id", "in": "header", "required": False,
        "description": "8 to 128 letters, digits or `._:-`, found in every log; one is made where none fits.",
        "schema": {"type": "string"}},
}

_HEADERS: dict[str, dict[str, Any]] = {
    "ETag": {"description": "The version of the record.", "schema": {"type": "string"}},
    "Location": {"description": "Path of what was made.", "schema": {"type": "string", "format": "uri-reference"}},
    "Link": {"description": "`rel=next`: the next page.", "schema": {"type": "string"}},
    "RetryAfter": {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}},
    "RequestId": {"description": "Names this request in every log.", "schema": {"type": "string"}},
    "Replayed": {"description": "`true`: the stored answer of an earlier request with this key.",
                 "schema": {"type": "string", "enum": ["true"]}},
    "WWWAuthenticate": {"description": "How to sign in (RFC 6750).", "schema": {"type": "string"}},
    "RateLimit": {"description": "Requests that are left (`r`), and seconds until the quota is whole again (`t`).",
                  "schema": {"type": "string", "examples": ['"credential";r=999;t=1']}},
    "RateLimitPolicy": {"description": "What may be asked: `q` requests in `w` seconds, and how many at once.",
                        "schema": {"type": "string", "examples": ['"credential";q=1000;w=10']}},
}
_EVERYWHERE = {name: {"$ref": f"#/components/headers/{component}"} for name, component in (
    ("X-Request-Id", "RequestId"), ("RateLimit", "RateLimit"), ("RateLimit-Policy", "RateLimitPolicy"))}

_ANY = (errors.BadRequest, door.NotAcceptable, door.HeadersTooLarge, door.UriTooLong, errors.Invalid,
        errors.InternalError, errors.Unavailable, errors.DeadlineExceeded, door.RequestTimeout, errors.TooManyRequests)
_BODY = (door.ContentTooLarge, door.UnsupportedMediaType)
_EVERY_ERROR: tuple[type[HubError], ...] = (
    *_ANY, *_BODY, errors.Unauthenticated, errors.Forbidden, errors.NotFound, errors.Conflict,
    errors.StaleVersion, errors.PreconditionRequired)
_STATUS: dict[int, type[HubError]] = {error.status: error for error in _EVERY_ERROR}


def _response_name(error: type[HubError]) -> str:
    return f"Problem{error.status}"


def _codes(status: int) -> str:
    """Return every code that a problem of this status may have."""
    found: set[str] = set()
    kinds: list[type[HubError]] = [HubError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.status == status and kind.code in locale.TITLES:
            found.add(f"`{kind.code}`")
    return ", ".join(sorted(found))


def _problem_response(error: type[HubError]) -> dict[str, Any]:
    headers: dict[str, Any] = dict(_EVERYWHERE)
    if error.status in {409, 429, 503, 504}:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    if error.status == 401:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/WWWAuthenticate"}
    sample = error()
    if error is errors.Invalid:
        sample = errors.Invalid.of("/name", "required", "Missing data for required field.")
    return {
        "description": f"{locale.TITLES[error.code][0]}. Codes: {_codes(error.status)}.", "headers": headers,
        "content": {problems.MEDIA_TYPE: {
            "schema": {"$ref": "#/components/schemas/Problem"}, "example": problems.document(sample, _ID)}},
    }


def _operation(route: Route, converter: _Converter) -> dict[str, Any]:
    operation = route.operation
    described: dict[str, Any] = {
        "operationId": route.name or operation.name, "tags": [route.tag_name],
        "summary": operation.summary,
        "description": _description(route), "parameters": _parameters(route, converter),
        "responses": _responses(route, converter),
    }
    if route.public:
        described["security"] = []
    if route.raw:
        described["requestBody"] = {"content": {"*/*": {"schema": {}}}, "required": False}
    elif route.body != "none":
        described["requestBody"] = _request_body(route, converter)
    return described


def _description(route: Route) -> str:
    operation = route.operation
    said = [] if operation.request is ById else [" ".join((operation.request.__doc__ or "").split())]
    if operation.permission is not None:
        said.append(f"Needs the right `{operation.permission.entity}:{operation.permission.action}`.")
    if route.key_required:
        said.append("Needs an `Idempotency-Key`.")
    if route.public and not route.raw:
        said.append("Takes no `Idempotency-Key`: nobody has signed in whose key it could be. Repeating it opens "
                    "another session; one whose token was lost ends by itself.")
    elif route.operation.unsaved:
        said.append("The answer shows a secret once and is not kept: a repeat with the same `Idempotency-Key` changes "
                    "nothing and answers `409 conflict`.")
    return "\n\n".join(text for text in said if text)


def _parameters(route: Route, converter: _Converter) -> list[dict[str, Any] | str]:
    """Return the parameters; those that many routes share by name."""
    parameters: list[dict[str, Any] | str] = []
    for argument, name in route.fields_of_path.items():
        described = converter.field2property(route.request_fields[name])
        parameters.append({"name": argument, "in": "path", "required": True, "schema": described})
    if route.reads:
        parameters += [_in_query(converter._field2parameter(declared, name=name, location="query"))
                       for name, declared in route.free_fields.items()]
        parameters.append(_selection(route))
        if _has_etag(route):
            parameters.append("IfNoneMatch")
    if route.takes_key:
        parameters.append("RequiredIdempotencyKey" if route.key_required else "IdempotencyKey")
    if route.takes_version:
        parameters.append("IfMatch" if route.needs_version else "OptionalIfMatch")
    parameters.append("RequestId")
    return parameters


def _in_query(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return the parameter without null, which a query cannot say."""
    described = parameter["schema"]
    if isinstance(described.get("type"), list):
        described["type"] = next(kind for kind in described["type"] if kind != "null")
    if described.get("default", 0) is None:
        del described["default"]
    return parameter


def _selection(route: Route) -> dict[str, Any]:
    return {"name": "fields", "in": "query", "required": False, "style": "form", "explode": False,
            "description": "Only these fields of each record, separated by commas.",
            "schema": {"type": "array", "minItems": 1,
                       "items": {"type": "string", "enum": sorted(route.answer_fields)}}}


def _has_etag(route: Route) -> bool:
    return route.etag and not route.is_page and "version" in route.answer_fields


def _request_body(route: Route, converter: _Converter) -> dict[str, Any]:
    changes = route.request_fields.get("changes")
    if isinstance(changes, fields.Nested):
        described = converter.resolve_nested_schema(changes.schema)
    elif set(route.free_fields) == set(route.request_fields):
        described = converter.resolve_nested_schema(route.operation.request)
    else:
        described = converter.fields2jsonschema(route.free_fields) | {"additionalProperties": False}
    media: dict[str, Any] = {"schema": described}
    example = example_of(route.operation)
    if example is not None:
        media["example"] = example
    return {"required": route.body == "required", "content": {"application/json": media}}


def _responses(route: Route, converter: _Converter) -> dict[str, Any]:
    headers: dict[str, Any] = dict(_EVERYWHERE)
    if _has_etag(route) and route.status != 204:
        headers["ETag"] = {"$ref": "#/components/headers/ETag"}
    if route.status == 201:
        headers["Location"] = {"$ref": "#/components/headers/Location"}
    if route.is_page:
        headers["Link"] = {"$ref": "#/components/headers/Link"}
    if route.takes_key:
        headers["Idempotency-Replayed"] = {"$ref": "#/components/headers/Replayed"}
    doc = (route.operation.response.__doc__ or "Done.").strip().partition("\n")[0]
    success: dict[str, Any] = {"description": doc, "headers": headers}
    if route.status != 204:
        success["content"] = {"application/json": {"schema": _answered(route, converter)}}
    responses: dict[str, Any] = {str(route.status): success}
    if route.reads and _has_etag(route):
        responses["304"] = {"description": "The client holds the present version.", "headers": {
            "ETag": {"$ref": "#/components/headers/ETag"}}}
    for error in sorted(_possible(route), key=lambda cls: cls.status):
        responses.setdefault(str(error.status), _response_name(_STATUS[error.status]))
    return responses


def _answered(route: Route, converter: _Converter) -> dict[str, Any]:
    """Return the schema of success: the whole record, or what `fields` left of it."""
    whole: dict[str, Any] = converter.resolve_nested_schema(route.operation.response)
    if not route.reads:
        return whole
    part = converter.fields2jsonschema(route.answer_fields, partial=True)
    part |= {"description": "With `fields`: only what was asked for.", "additionalProperties": False}
    if route.is_page:
        part = {"type": "object", "required": ["items", "next"], "properties": {
            "items": {"type": "array", "items": part}, "next": {"type": ["string", "null"]}}}
    return {"anyOf": [whole, part]}


def _possible(route: Route) -> set[type[HubError]]:
    """Return every kind of problem that this route can answer."""
    found: set[type[HubError]] = {*_ANY, *route.operation.errors}
    if not route.public or errors.Unauthenticated in route.operation.errors:
        found.add(errors.Unauthenticated)
    if route.operation.permission is not None or not (route.public or route.before_password_change):
        found.add(errors.Forbidden)
    if any(isinstance(declared, Identifier) for declared in route.request_fields.values()):
        found.add(errors.NotFound)  # a record that the path or the body names
    if not route.reads:
        found |= {*_BODY}
    if route.operation.mutates:
        found.add(errors.Conflict)
    if route.takes_version:
        found |= {errors.PreconditionRequired, errors.StaleVersion} if route.needs_version else {errors.StaleVersion}
    return found


_SIZES = {"minLength": "minProperties", "maxLength": "maxProperties"}


def _tidy(node: Any) -> Any:
    """Return the document in JSON Schema's own words: anchors of patterns, and the sizes of objects."""
    if isinstance(node, Mapping):
        sized = _SIZES if "object" in ([kind] if isinstance(kind := node.get("type"), str) else kind or ()) else {}
        return {sized.get(key, key): re.sub(r"\\Z", "$", value) if key == "pattern" and isinstance(value, str)
                else _tidy(value) for key, value in node.items()}
    return [_tidy(item) for item in node] if isinstance(node, list) else node


__all__ = ["BASE_PATH", "document"]
