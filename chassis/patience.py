"""Waiting no longer than agreed, in greenlets."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from eventlet.timeout import Timeout


class AtMost:
    """Leaves its block after so many seconds, silently; what follows the block is for that case.

        with AtMost(2.0):
            return answer.wait()
        raise DeadlineExceeded

    Works only while the block waits on the event loop: it cannot interrupt a computation.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout: Any = None

    def __enter__(self) -> Self:
        self._timeout = Timeout(self._seconds)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> bool:
        self._timeout.cancel()
        return error is self._timeout
