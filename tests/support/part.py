"""One part of the test run, as a pytest plug-in: it asks `tests/side_by_side.py` for files until there are none left.

`python -m pytest -p tests.support.part --turns FD`, where FD is a socket with one JSON document a line. The part first
names every file that pytest finds; from then on it tells what came of the files that it was given, and is given others.
A broker, a PostgreSQL and whatever else a session keeps are started once in a part; a module is imported at its turn.
What only the files of one turn share is given back after it: a hub at rest still polls and takes memory.

Nothing but pytest and the standard library is imported here: eventlet is to patch before anything else is there.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

SHARED = ("all_rooms", "whole_hub", "erp", "server")
"""Fixtures of a session that are shared by files which are given out together, and asked for by no other."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--turns", type=int, metavar="FD", help="a socket to the one who gives out the files")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Part(config.getoption("--turns")))


class Part:
    """Runs what it is given."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # a program that a test leaves behind must not look like this part
        # Not a socket object: eventlet would have it yield to the greenlets of a test.
        self._turns = open(fd, "r+b", buffering=0)  # noqa: SIM115
        self._counts: Counter[str] = Counter()
        self._failed: list[tuple[str, str]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> bool:
        """Collect nothing before it is asked for."""
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run files until there are no more."""
        modules = {module.nodeid: module for root in _roots(session) for module in _modules(session, root)}
        answer: dict[str, Any] = {"files": sorted(modules)}
        while files := self._ask(answer):
            began = time.monotonic()
            self._counts, self._failed = Counter(), []
            items = _tests(session, [modules[file] for file in files])
            _run(session, items)
            _give_back(session, items)
            answer = {"seconds": time.monotonic() - began, "counts": self._counts, "failed": self._failed}
        # At the end of a session pytest unlocks its folder first and gives back what the session keeps afterwards: a
        # server that it stops then may find its files gone.
        session._setupstate.teardown_exact(None)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: by its call, or by the set-up or the clean-up that broke."""
        if report.when == "call" or not report.passed:
            outcome = report.outcome if report.when == "call" or report.skipped else "error"
            self._count(outcome, report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that cannot be imported."""
        if report.failed:
            self._count("error", report)

    def _count(self, outcome: str, report: pytest.TestReport | pytest.CollectReport) -> None:
        self._counts[outcome] += 1
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._failed.append((report.nodeid, str(crash.message if crash else report.longrepr)))

    def _ask(self, answer: dict[str, Any]) -> list[str]:
        self._turns.write(json.dumps(answer).encode() + b"\n")
        files: list[str] = json.loads(self._turns.readline() or b"[]")
        return files


class _Unfiltered:
    """Keeps pytest from leaving out a file for a mark that only its tests carry."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.found = list(items)
        items.clear()


def _roots(session: pytest.Session) -> list[Any]:
    unfiltered = _Unfiltered()
    session.config.pluginmanager.register(unfiltered)
    try:
        session.perform_collect(genitems=False)
    finally:
        session.config.pluginmanager.unregister(unfiltered)
    return unfiltered.found


def _modules(session: pytest.Session, node: Any) -> Iterator[Any]:
    """Yield the modules below a folder; none is imported yet."""
    if not isinstance(node, pytest.Directory):
        yield node
        return
    report, _ = session._collect_one_node(node)
    node.ihook.pytest_collectreport(report=report)
    for below in report.result or []:
        yield from _modules(session, below)


def _tests(session: pytest.Session, modules: list[Any]) -> list[pytest.Item]:
    """Import modules; return their tests that the options ask for."""
    items = [item for module in modules for item in session.genitems(module)]
    session.config.hook.pytest_collection_modifyitems(session=session, config=session.config, items=items)
    session.testscollected += len(items)
    return items


def _run(session: pytest.Session, items: list[pytest.Item]) -> None:
    # After the last, what a module or a folder keeps is given back, and what the session keeps is not.
    following = [*items[1:], cast(pytest.Item, session)]
    for item, nextitem in zip(items, following, strict=False):
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)


def _give_back(session: pytest.Session, items: list[pytest.Item]) -> None:
    """End what these tests have shared with each other alone."""
    request = cast(Any, SimpleNamespace(node=session))  # the tests' own are gone; of it only the node is named
    for item in items:
        for name in SHARED:
            for fixture in session._fixturemanager.getfixturedefs(name, item) or ():
                fixture.finish(request)
