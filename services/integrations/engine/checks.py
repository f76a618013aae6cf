"""Asking a target whether it can be worked with: between two transactions, never inside one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.crypto import Keyring
from chassis.database import Database, utcnow
from contracts.errors import Unavailable
from hub_adapter.port import CheckResult, Problem
from services.integrations.engine import calls
from services.integrations.engine.targets import Target, Targets
from services.integrations.operations import connections as operations
from services.integrations.queries import connections


def check(db: Database, keyring: Keyring, connection_id: str, deadline_s: float, *, by: Subject,
          keep: Callable[[Session, object], None] | None = None) -> dict[str, Any]:
    """Check a connection, keep what was found, and return it; `keep` holds it for a repeat with the same key.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    with db.read() as session:
        connection = connections.get(session, connection_id, by, "operate")
        setup_version = connection.setup_version
        try:
            target, unusable = Targets(keyring).load(session, connection_id), None
        except Unavailable:
            raise
        except Exception as error:
            # An adapter that is not installed, a key that is not ours, settings that an older release let pass.
            target, unusable = None, error
    if target is None:
        result = CheckResult(problems=(Problem("adapter", f"{type(unusable).__name__}: {unusable}"[:300]),))
    elif target.missing:
        result = CheckResult(problems=tuple(Problem(name, "No such secret has been put.") for name in target.missing))
    else:
        result = _ask(target, deadline_s)
    with db.write() as session:
        found = operations.checked(session, connection_id, setup_version, result, utcnow())
        if keep is not None:
            keep(session, found)
    return found


def _ask(target: Target, deadline_s: float) -> CheckResult:
    """Let the adapter check; its own fault is a problem like any other, and its words are redacted."""
    try:
        with target.calling(utcnow, deadline_s, at_once=True) as ctx:
            found = target.adapter.check(ctx)
        problems = tuple(Problem(p.field, target.redacted(p.message)) for p in found.problems)
        return replace(found, problems=problems)
    except Exception as error:
        return CheckResult(problems=(Problem("check", calls.failed_with(target, error).text),))
    finally:
        target.replace()
