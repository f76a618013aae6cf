"""Asking a target something outside any delivery: within its rate and a deadline, with a credential that holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TypeVar

from contracts.errors import Unavailable
from hub_adapter.port import Context
from services.integrations.domain import failures
from services.integrations.engine import calls
from services.integrations.engine.renewals import Renew
from services.integrations.engine.targets import Target
from services.integrations.operations.outcomes import Failed

T = TypeVar("T")
Question = Callable[[Target, Context], T]


class CallFailed(Exception):
    """The target did not answer as it should; `failed` tells how, by its class."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.text)
        self.failed = failed


def ask(target: Target, question: Question[T], renew: Renew, clock: Callable[[], dt.datetime], deadline_s: float, *,
        dry_run: bool = False) -> T:
    """Return what the target answers; it is asked once more where its credential only had to be renewed.

    Raises:
        CallFailed: whatever the adapter raised, or why its credential could not be renewed for now.
        Unavailable: the database is away.
    """
    try:
        return _answer(target, question, clock, deadline_s, dry_run)
    except CallFailed as refused:
        fresh = _renewed(target, renew, deadline_s) if refused.failed.kind == failures.AUTH else None
        if fresh is None:
            raise
    return _answer(fresh, question, clock, deadline_s, dry_run)


def _answer(target: Target, question: Question[T], clock: Callable[[], dt.datetime], deadline_s: float,
            dry_run: bool) -> T:
    try:
        with target.calling(clock, deadline_s, dry_run=dry_run) as ctx:
            return question(target, ctx)
    except Exception as error:
        raise CallFailed(calls.failed_with(target, error)) from error


def _renewed(target: Target, renew: Renew, deadline_s: float) -> Target | None:
    try:
        return renew(target, deadline_s)
    except Unavailable:
        raise
    except Exception as error:
        raise CallFailed(calls.failed_with(target, error)) from error
