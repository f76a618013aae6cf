"""A room started as ever, with a stopwatch on its hops and a sampler on its stack: `python -m bench.traced ROOM`.

It begins when the file `trace-begin` appears in HUB_HOME, and leaves `trace-ROOM.json` there at the end. The product's
code is wrapped from outside, at the names below; a name that has gone is reported and left out. Samples are taken by a
thread of the operating system, not by a signal: a room takes a signal for the end.
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
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from eventlet.patcher import original
from sqlalchemy.engine.default import DefaultDialect

from chassis import launcher

_sleep = original("time").sleep

SAMPLE_EVERY_S = 0.001
IDLE = ("do_poll", "wait", "poll")
"""Innermost functions of a process that waits; the CPU time before them belongs to nobody we could still see."""
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
        ("chassis.answering", "RequestConsumer.reply", "reply"),
        ("chassis.relay", "Confirms.publish", "event published and confirmed"),
    ),
    "customers": (
        ("chassis.rpc", "_answer", "operation"),
        ("chassis.answering", "RequestConsumer.reply", "reply"),
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
"""Microseconds of CPU by function: spent in it, and in it or what it calls."""
_missing: list[str] = []
_over: list[bool] = []


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


def _sampler(home: Path, main: int) -> None:
    clock = time.pthread_getcpuclockid(main)
    while not (home / "trace-begin").exists():
        _sleep(0.05)
    for kept in (_spans, _selves, _inclusive):
        kept.clear()
    # The sampler gets its turn at the next byte code; else it would see only where the main thread blocks.
    sys.setswitchinterval(1e-5)
    before = time.clock_gettime(clock)
    while not _over:
        _sleep(SAMPLE_EVERY_S)
        now = time.clock_gettime(clock)
        spent, before = round((now - before) * 1e6), now
        frame = sys._current_frames().get(main)
        if spent and frame is not None and frame.f_code.co_name not in IDLE:
            _note(frame, spent)


def _note(frame: FrameType, spent_us: int) -> None:
    _selves[_where(frame)] += spent_us
    seen: set[str] = set()
    at: FrameType | None = frame
    while at is not None:
        where = _where(at)
        if where not in seen:
            seen.add(where)
            _inclusive[where] += spent_us
        at = at.f_back


def _where(frame: FrameType) -> str:
    return f"{_short(frame.f_code.co_filename)}:{frame.f_code.co_qualname}"


def _short(file: str) -> str:
    for root in ("site-packages/", "/lib/python3.11/", f"{Path.cwd()}/"):
        if root in file:
            return file.partition(root)[2]
    return file.rpartition("/")[2]


def _leave(room: str) -> None:
    _over.append(True)
    _sleep(0.05)  # the sampler's last note; counters must not change while they are read
    document = {"spans": _spans, "self": _selves.most_common(60), "inclusive": _inclusive.most_common(120),
                "cpu_us": _selves.total(), "missing": _missing}
    (Path(os.environ["HUB_HOME"]) / f"trace-{room}.json").write_text(json.dumps(document), encoding="utf-8")


def main(room: str) -> None:
    """Run the room."""
    for hop in HOPS.get(room, ()):
        _wrap(*hop)
    DefaultDialect.do_commit = _timed("commit", DefaultDialect.do_commit)  # type: ignore[method-assign]
    atexit.register(_leave, room)
    start = original("_thread").start_new_thread
    start(_sampler, (Path(os.environ["HUB_HOME"]), original("threading").get_ident()))
    sys.exit(launcher.run(room))


if __name__ == "__main__":
    main(sys.argv[1])
