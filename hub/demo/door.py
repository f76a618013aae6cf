"""The hub as a client sees it: HTTP and nothing else."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import requests

from hub.trouble import Trouble

T = TypeVar("T")
TIMEOUT_S = 40.0
"""How long one answer may take to begin, or to go on: the slowest operations, checks and activations, have 35 s."""
CONNECT_S = 5.0
MOST_PAUSE_S = 2.0
"""Longer than this is not waited before asking again."""


class Refused(Exception):
    """The hub answered with a problem document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", ""))
        self.problem = problem
        super().__init__(f"{status} {self.code}: {problem.get('detail', '')}".strip())

    @property
    def named(self) -> dict[str, Any]:
        """The fields that were refused (`errors`), and the facts of the case (`details`)."""
        return {part: self.problem[part] for part in ("errors", "details") if self.problem.get(part)}


class Door:
    """Calls the gateway, repeating what may be repeated: a 503 or 504 changes nothing that the key does not cover.

    Raises:
        Trouble: the credential is none, the gateway does not answer, or what answers is no gateway.
        Refused: from any call.
    """

    def __init__(self, url: str, credential: str = "", *, patience_s: float = 60.0) -> None:
        self._url = url
        self._http = requests.Session()
        self._http.trust_env = False
        self._patience_s = patience_s
        if credential:
            if not (credential.isascii() and credential.isprintable() and " " not in credential):
                raise Trouble("the API key holds characters that no key has",
                              "copy it again, into HUB_API_KEY: printable ASCII, without spaces and line ends")
            self._http.headers["Authorization"] = f"Bearer {credential}"

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """Read."""
        return self._call("GET", path, params=query)[1]

    def post(self, path: str, body: dict[str, Any] | None = None, *, key: str | None = None) -> dict[str, Any]:
        """Do; with a key of its own unless one is given."""
        return self._call("POST", path, json=body, headers=_key(key))[1]

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Set."""
        return self._call("PUT", path, json=body, headers=_key())[1]

    def patch(self, path: str, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Change the version that was read."""
        return self._call("PATCH", path, json=body, headers={"If-Match": f'"{version}"', **_key()})[1]

    def ask(
        self, method: str, path: str, query: Sequence[tuple[str, str]], body: Any, version: int | None
    ) -> dict[str, Any]:
        """Ask anything, of the version that was read if one is named."""
        match = {} if version is None else {"If-Match": f'"{version}"'}
        keyed = {} if method == "GET" else _key()
        return self._call(method, path, params=query, json=body, headers={**match, **keyed})[1]

    def replayed(self, path: str, key: str) -> bool:
        """Post the same again with the same key; return whether the kept answer came back."""
        headers, _ = self._call("POST", path, json=None, headers=_key(key))
        return bool(headers.get("Idempotency-Replayed") == "true")

    def _call(self, method: str, path: str, **options: Any) -> tuple[Any, dict[str, Any]]:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                answer = self._http.request(method, f"{self._url}{path}", timeout=(CONNECT_S, TIMEOUT_S), **options)
                if answer.ok:
                    return answer.headers, answer.json() if answer.content else {}
            except requests.RequestException as error:
                if isinstance(error, ValueError):  # malformed, and not better for being asked again
                    raise Trouble(f"{self._url} does not answer as a gateway does ({type(error).__name__})",
                                  "set GATEWAY_LISTEN, or HUB_PORT, to where the gateway listens") from error
                problem: Exception = error
                pause = 0.5
            else:
                problem = Refused(answer.status_code, _problem(answer))
                if answer.status_code not in (502, 503, 504) and answer.headers.get("Retry-After") is None:
                    raise problem
                after = answer.headers.get("Retry-After", "1")
                pause = min(float(after), MOST_PAUSE_S) if after.isdecimal() else MOST_PAUSE_S  # it may be a date
            if time.monotonic() + pause > deadline:
                if isinstance(problem, Refused):
                    raise problem
                raise Trouble("the gateway does not answer", "hub status shows what is missing") from problem
            time.sleep(pause)


def _key(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def _problem(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def wait_for(what: str, look: Callable[[], T | None], *, timeout_s: float = 90.0) -> T:
    """Return what `look` finds, asking ever less often.

    Raises:
        Trouble: it did not come in time.
    """
    deadline, pause = time.monotonic() + timeout_s, 0.02
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(pause)
        pause = min(pause * 1.3, 0.5)
    raise Trouble(f"{what} did not happen within {timeout_s:.0f} s", "GET /api/v1/deliveries says what became of it")
