"""A room started as ever, with a stopwatch on its hops and a sampler on its stack: `python -m bench.traced ROOM`.

SIGUSR1 begins anew; at its end the process leaves `trace-ROOM.json` in HUB_HOME. The product's code is wrapped from
outside, at the names below; a name that has gone is reported and left out.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import atexit
import functools
import importlib
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from chassis import launcher

SAMPLE_EVERY_S = 0.001
"""Of CPU time; the kernel rounds it up to its own tick."""
HOPS = {
    "gateway": (
        ("gateway.application", "Application.__call__", "gateway answers"),
        ("gateway.auth", "Authenticator.subject", "who is asking"),
        ("gateway.exchange", "understand", "request understood"),
        ("gateway.exchange", "answer", "answer dumped"),
        ("chassis.calling", "mint", "token minted"),
        ("chassis.calling", "Caller._publish", "request published and confirmed"),
        ("chassis.calling", "Caller._wait", "waiting for the service"),
    ),
    "sales": (
        ("chassis.rpc", "_answer", "operation"),
        ("chassis.rpc", "_RequestConsumer.reply", "reply"),
        ("chassis.relay", "Confirms.publish", "event published and confirmed"),
    ),
    "customers": (
        ("chassis.rpc", "_answer", "operation"),
        ("chassis.rpc", "_RequestConsumer.reply", "reply"),
    ),
    "integrations": (
        ("services.integrations.operations.intake", "accept", "change accepted"),
        ("services.integrations.operations.claims", "claim", "delivery claimed"),
        ("services.integrations.engine.calls", "perform", "call of the adapter"),
        ("services.integrations.operations.settlements", "settle", "outcome settled"),
        ("chassis.entrypoints", "_Hears.handle_message", "event taken"),
    ),
}

_spans: list[tuple[str, int, int]] = []
_selves: Counter[str] = Counter()
_inclusive: Counter[str] = Counter()
_missing: list[str] = []


def _timed(name: str, function: Any) -> Any:
    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic_ns()
        try:
            return function(*args, **kwargs)
        finally:
            _spans.append((name, began, time.monotonic_ns()))

    return timed


def _wrap(module: str, path: str, name: str) -> None:
    try:
        owner: Any = importlib.import_module(module)
        *outer, last = path.split(".")
        for step in outer:
            owner = getattr(owner, step)
        setattr(owner, last, _timed(name, getattr(owner, last)))
    except (ImportError, AttributeError):
        _missing.append(f"{module}.{path}")


def _sample(_signum: int, frame: FrameType | None) -> None:
    seen: set[str] = set()
    innermost = True
    while frame is not None:
        where = f"{_short(frame.f_code.co_filename)}:{frame.f_code.co_qualname}"
        if innermost:
            _selves[where] += 1
            innermost = False
        if where not in seen:
            seen.add(where)
            _inclusive[where] += 1
        frame = frame.f_back


def _short(file: str) -> str:
    for root in ("site-packages/", "/lib/python3.11/", f"{Path.cwd()}/"):
        if root in file:
            return file.partition(root)[2]
    return file.rpartition("/")[2]


def _begin(_signum: int, _frame: FrameType | None) -> None:
    for kept in (_spans, _selves, _inclusive):
        kept.clear()
    signal.setitimer(signal.ITIMER_PROF, SAMPLE_EVERY_S, SAMPLE_EVERY_S)


def _leave(room: str) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    document = {"spans": _spans, "self": _selves.most_common(60), "inclusive": _inclusive.most_common(120),
                "samples": _selves.total(), "missing": _missing}
    (Path(os.environ["HUB_HOME"]) / f"trace-{room}.json").write_text(json.dumps(document), encoding="utf-8")


def main(room: str) -> None:
    """Run the room."""
    for hop in HOPS.get(room, ()):
        _wrap(*hop)
    DefaultDialect.do_commit = _timed("commit", DefaultDialect.do_commit)  # type: ignore[method-assign]
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR1, _begin)
    atexit.register(_leave, room)
    sys.exit(launcher.run(room))


if __name__ == "__main__":
    main(sys.argv[1])
