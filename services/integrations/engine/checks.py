"""Asking a target whether it can be worked with: between two transactions, never inside one."""

from __future__ import annotations

from typing import Any

from chassis.context import Subject
from chassis.crypto import Keyring, SealBroken
from chassis.database import Database, utcnow
from hub_adapter.port import CheckResult, Problem
from services.integrations.adapters import registry
from services.integrations.engine import calls
from services.integrations.engine.targets import Targets
from services.integrations.operations import connections as operations
from services.integrations.queries import connections


def check(db: Database, keyring: Keyring, connection_id: str, deadline_s: float, *, by: Subject) -> dict[str, Any]:
    """Check a connection, keep what was found, and return it.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    with db.read() as session:
        connection = connections.get(session, connection_id, by, "operate")
        setup_version = connection.setup_version
        try:
            target, unusable = Targets(keyring).load(session, connection_id), None
        except (registry.UnknownAdapter, registry.BrokenAdapter, SealBroken) as error:
            target, unusable = None, error
    if target is None:
        result = CheckResult(problems=(Problem("adapter", str(unusable)),))
    elif missing := [name for name in target.adapter.spec.secret_fields if name not in target.secrets]:
        result = CheckResult(problems=tuple(Problem(name, "No such secret has been put.") for name in missing))
    else:
        try:
            result = target.adapter.check(target.context(utcnow, deadline_s, lambda exchange: None))
        except Exception as error:
            failed = calls.failed_with(target, error)
            result = CheckResult(problems=(Problem("check", failed.text),))
        finally:
            target.transport.close()
    with db.write() as session:
        return operations.checked(session, connection_id, setup_version, result, utcnow())
