"""Structured logs: one JSON object per event, with the ids that find one request across services. Never a body."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog

correlation: ContextVar[dict[str, str]] = ContextVar("correlation")
"""Ids of the call at hand: `request_id` and `traceparent`, which go on into events, and whatever each line should name.

A log line shows a `traceparent` as `trace_id` and `span_id`.
"""


def current(name: str) -> str:
    """Return one of the ids of the call at hand, or an empty text outside a call."""
    return correlation.get({}).get(name, "")


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Put `ids` on every line that is logged within, beside those that are there."""
    token = correlation.set({**correlation.get({}), **ids})
    try:
        yield
    finally:
        correlation.reset(token)


def where(error: BaseException) -> dict[str, str]:
    """Return where an unexpected error arose; its text may hold personal data, so it stays out of the log."""
    frames, at = [], error.__traceback__
    while at is not None:
        frames.append(f"{at.tb_frame.f_code.co_filename.rpartition('/')[2]}:{at.tb_lineno}")
        at = at.tb_next
    cause = error.__cause__ or error.__context__
    return {"at": " < ".join(reversed(frames[-4:]))} | ({"cause": type(cause).__name__} if cause else {})


def ids_of(traceparent: str) -> dict[str, str]:
    """Return what a log line says of a W3C `traceparent`; nothing if there is none."""
    parts = traceparent.split("-")
    return {"trace_id": parts[1], "span_id": parts[2]} if len(parts) == 4 else {}


def _add_correlation(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    ids = {name: value for name, value in correlation.get({}).items() if value}
    traceparent = ids.pop("traceparent", "")
    return {**ids, **ids_of(traceparent), **event}


def configure(room: str, level: str = "INFO") -> None:
    """Send every log line, ours and the libraries', to standard output as JSON."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), _add_correlation,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.processors.format_exc_info,
                    structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    lambda _l, _m, event: {"room": room, **event},
                    structlog.processors.JSONRenderer(ensure_ascii=False)],
    ))
    # No line of ours names its caller, thread or process; looking for them would almost double what a line costs.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # nameko logs every handler exception with its arguments, which may hold personal data; the chassis logs it itself.
    logging.getLogger("nameko.containers").setLevel(logging.CRITICAL)
    for noisy in ("amqp", "kombu", "alembic.runtime"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def logger(name: str) -> Any:
    """Return the structured logger of a module."""
    return structlog.stdlib.get_logger(name)
