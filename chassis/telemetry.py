"""Structured logs: one JSON object per event, with the ids that find one request across services. Never a body."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

import structlog

correlation: ContextVar[dict[str, str]] = ContextVar("correlation")
"""Ids of the call at hand (`request_id`, `traceparent`), put on every log line and carried into events."""


def current(name: str) -> str:
    """Return one of the ids of the call at hand, or an empty text outside a call."""
    return correlation.get({}).get(name, "")


def where(error: BaseException) -> dict[str, str]:
    """Return where an unexpected error arose; its text may hold personal data, so it stays out of the log."""
    frames, at = [], error.__traceback__
    while at is not None:
        frames.append(f"{at.tb_frame.f_code.co_filename.rpartition('/')[2]}:{at.tb_lineno}")
        at = at.tb_next
    cause = error.__cause__ or error.__context__
    return {"at": " < ".join(reversed(frames[-4:]))} | ({"cause": type(cause).__name__} if cause else {})


def _add_correlation(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in correlation.get({}).items() if v}, **event}


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
