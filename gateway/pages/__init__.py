"""What the gateway answers without asking a service: the API document, its reader, the list of problems, health."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from chassis.health import Health
from gateway import locale, openapi
from gateway.application import Page
from gateway.route import Route
from gateway.settings import GatewaySettings

_HERE = Path(__file__).parent
_HTML, _CSS, _JS = "text/html", "text/css", "text/javascript"
_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
           "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


def all_pages(routes: Iterable[Route], settings: GatewaySettings, health: Health) -> tuple[Page, ...]:
    """Return every page. They load nothing from elsewhere, so they work on a machine without internet."""
    document = json.dumps(openapi.document(routes, settings.public_url), ensure_ascii=False).encode()
    return (
        Page("/", lambda _request: Response(status=303, headers={"Location": "/docs"}), ""),
        Page("/openapi.json", _fixed(document, "application/json"), "application/json"),
        Page("/docs", _fixed((_HERE / "docs.html").read_bytes(), _HTML), _HTML),
        Page("/docs/docs.css", _fixed((_HERE / "docs.css").read_bytes(), _CSS), _CSS),
        Page("/docs/docs.js", _fixed((_HERE / "docs.js").read_bytes(), _JS), _JS),
        Page("/docs/problems", _fixed(problems_page().encode(), _HTML), _HTML),
        Page("/livez", lambda _request: _state(200, {"status": "alive"}), "application/json", limited=False),
        Page("/readyz", lambda _request: _readiness(health), "application/json", limited=False),
    )


def problems_page() -> str:
    """Return the page that a problem's `type` leads to: each code, its meaning, what to do."""
    rows = "".join(
        f'<article class="problem" id="{code}"><h2><code>{code}</code></h2>'
        f"<p><b>{html.escape(english)}</b> · {html.escape(chinese)}</p><p>{html.escape(locale.MEANINGS[code])}</p>"
        f"<p>{html.escape(locale.detail(code, 0, '', 'zh-CN'))}</p></article>"
        for code, (english, chinese) in locale.TITLES.items()
    )
    return (_HERE / "problems.html").read_text(encoding="utf-8").replace("<!-- problems -->", rows)


def _fixed(content: bytes, media_type: str) -> Callable[[Request], Response]:
    """Return a renderer of content that stays the same while the process runs."""
    tag = hashlib.sha256(content).hexdigest()[:32]

    def render(request: Request) -> Response:
        response = Response(content, content_type=f"{media_type}; charset=utf-8" if media_type != "application/json"
                            else media_type)
        response.headers["Cache-Control"] = "public, no-cache"
        response.headers["Content-Security-Policy"] = _POLICY
        response.set_etag(tag)
        made: Response = response.make_conditional(request.environ)
        return made

    return render


def _state(status: int, body: dict[str, Any]) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), status=status, content_type="application/json")


def _readiness(health: Health) -> Response:
    missing = health.missing()
    if missing:
        response = _state(503, {"status": "not ready", "missing": missing})
        response.headers["Retry-After"] = "1"
        return response
    return _state(200, {"status": "ready"})
