"""Errors that only an HTTP door can have. They answer as problem documents, like the errors of the services."""

from __future__ import annotations

from contracts.errors import BadRequest, Forbidden, HubError


class MalformedJson(BadRequest):
    """The body is not one well-formed JSON value in UTF-8."""

    code = "malformed_json"


class MalformedHeader(BadRequest):
    """A header field cannot be read."""

    code = "malformed_header"


class IdempotencyKeyRequired(BadRequest):
    """This request must carry an Idempotency-Key header, so that it can be repeated safely."""

    code = "idempotency_key_required"


class PasswordChangeRequired(Forbidden):
    """Change your password first: POST /api/v1/me/password."""

    code = "password_change_required"


class MethodNotAllowed(HubError):
    """This resource does not know the method; the Allow header names those it knows."""

    code, status = "method_not_allowed", 405


class NotAcceptable(HubError):
    """The resource cannot be given in any form that the Accept header admits."""

    code, status = "not_acceptable", 406


class RequestTimeout(HubError):
    """The request did not arrive in time."""

    code, status = "request_timeout", 408


class ContentTooLarge(HubError):
    """The body is larger than this gateway reads."""

    code, status = "content_too_large", 413


class UriTooLong(HubError):
    """The request line is longer than this gateway reads."""

    code, status = "uri_too_long", 414


class UnsupportedMediaType(HubError):
    """The body is of a media type that this resource does not read."""

    code, status = "unsupported_media_type", 415


class HeadersTooLarge(HubError):
    """The header section is larger than this gateway reads."""

    code, status = "headers_too_large", 431
