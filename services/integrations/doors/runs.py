"""Doors for runs and their findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chassis.audit import views
from chassis.database import after_commit, utcnow
from chassis.entrypoints import Call, exposes
from chassis.paging import Page
from contracts import integrations as contract
from services.integrations.engine import runs as kinds
from services.integrations.engine.engine import engine_of
from services.integrations.operations import findings as finding_operations
from services.integrations.operations import runs as operations
from services.integrations.queries import connections, findings, runs


class RunDoors:
    """Answers for what goes over an entity of a connection, page by page."""

    @exposes(contract.START_RUN)
    def start_run(self, call: Call) -> Mapping[str, Any]:
        """Start a run over an entity of a connection."""
        connection = connections.get(call.session, call.request["connection_id"], call.subject)
        run = kinds.start(call.session, connection, call.request, utcnow(), by=call.subject.id)
        after_commit(call.session, engine_of(call.runtime).runner.wake)
        return runs.told(run)

    @exposes(contract.GET_RUN)
    def get_run(self, call: Call) -> Mapping[str, Any]:
        """Read a run."""
        return runs.told(runs.get(call.session, call.request["id"], call.subject))

    @exposes(contract.LIST_RUNS)
    def list_runs(self, call: Call) -> Page:
        """List runs."""
        return runs.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.LIST_FINDINGS, session=False)
    def list_findings(self, call: Call) -> Page:
        """List what a run has found; whose values it shows without masks is written down first."""
        with call.runtime.db.read() as session:
            page, seen = findings.listed(session, call.request, call.subject, call.runtime.codec)
        views.written(call.runtime, contract.LIST_FINDINGS, call.subject, seen, call.request_id)
        return page

    @exposes(contract.DECIDE_FINDING)
    def decide_finding(self, call: Call) -> Mapping[str, Any]:
        """Say what is to be done about a finding."""
        return finding_operations.decide(call.session, call.request, by=call.subject)

    @exposes(contract.APPROVE_RUN)
    def approve_run(self, call: Call) -> Mapping[str, Any]:
        """Have a run go on that awaits approval."""
        run = operations.approve(call.session, call.request, utcnow(), by=call.subject)
        after_commit(call.session, engine_of(call.runtime).runner.wake)
        return runs.told(run)

    @exposes(contract.CANCEL_RUN)
    def cancel_run(self, call: Call) -> Mapping[str, Any]:
        """Cancel a run."""
        return runs.told(operations.cancel(call.session, call.request, utcnow(), by=call.subject))
