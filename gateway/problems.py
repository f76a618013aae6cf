"""Errors as problem documents (RFC 9457): one shape for every 4xx and 5xx, in the client's language."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Response

from contracts.errors import HubError, InternalError, Unauthenticated
from gateway import locale

MEDIA_TYPE = "application/problem+json"
PROBLEMS_PAGE = "/docs/problems"
REALM = "crm-hub"


def type_uri(code: str) -> str:
    """Return the problem type: the place on the gateway's own page that explains the code."""
    return f"{PROBLEMS_PAGE}#{code}"


def document(error: HubError, request_id: str, language: locale.Language = "en") -> dict[str, Any]:
    """Return the problem document of `error`.

    The text of an internal error is never shown: it may hold what went wrong inside.
    """
    fields = {} if isinstance(error, InternalError) else dict(error.fields)
    errors = fields.pop("errors", None)
    message = InternalError().message if isinstance(error, InternalError) else error.message
    problem: dict[str, Any] = {
        "type": type_uri(error.code),
        "title": locale.title(error.code, error.status, language),
        "status": error.status,
        "detail": locale.detail(error.code, error.status, message, language),
        "instance": request_id,
        "code": error.code,
    }
    if errors is not None:
        problem["errors"] = [_told(one, language) for one in errors]
    if isinstance(gaps := fields.get("gaps"), list):
        fields["gaps"] = [_told(one, language) for one in gaps]
    if fields:
        problem["details"] = fields
    return problem


def _told(one: Mapping[str, Any], language: locale.Language) -> dict[str, Any]:
    return {**one, "message": locale.field_message(one.get("code", ""), one.get("message", ""), language)}


def response(error: HubError, request_id: str, language: locale.Language = "en") -> Response:
    """Return the answer that tells `error`, with the headers that its kind asks for."""
    body = json.dumps(document(error, request_id, language), ensure_ascii=False).encode()
    answer = Response(body, status=error.status, content_type=MEDIA_TYPE)
    answer.headers["Content-Language"] = language
    answer.headers["Cache-Control"] = "no-store"
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif error.status == 503:
        answer.headers["Retry-After"] = "1"
    if error.status == 405 and "allow" in error.fields:
        answer.headers["Allow"] = str(error.fields["allow"])
    if isinstance(error, Unauthenticated):
        answer.headers["WWW-Authenticate"] = challenge(presented=bool(error.fields.get("presented")))
    return answer


def challenge(*, presented: bool) -> str:
    """Return the `WWW-Authenticate` value of RFC 6750: an error code only where a credential was presented."""
    return f'Bearer realm="{REALM}"' + (', error="invalid_token"' if presented else "")
