"""The pytest plug-in: tells what of an adapter was proven, what it does not claim, and the guarantee that it earns.

    pytest --conformance-report=conformance.json
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import groupby
from pathlib import Path
from typing import TypeGuard

import pytest

from hub_adapter.conformance.outcome import Outcome, Told
from hub_adapter.conformance.proxy import FaultProxy
from hub_adapter.conformance.report import Check, Reports, SuiteReport, sentence
from hub_adapter.conformance.structural import StructuralSuite

REPORTS = pytest.StashKey[Reports]()
TOLD = pytest.StashKey[Told]()
CLOSING = "test_every_declared_capability_is_proven"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("conformance").addoption(
        "--conformance-report", type=Path, metavar="PATH", help="write what the adapters have proven as JSON"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--conformance-report") is not None and config.getoption("dist", "no") != "no":
        raise pytest.UsageError("--conformance-report is of one process: leave out -n, as no worker sees all checks")
    config.stash[REPORTS] = Reports()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each suite's closing check behind its others, wherever its class inherits it from."""
    suites = groupby(list(items), key=lambda item: getattr(item, "cls", None))
    items[:] = [item for _, group in suites for item in sorted(group, key=_is_closing)]


@pytest.fixture(scope="session")
def conformance_proxy() -> Iterator[FaultProxy]:
    """The kit's fault proxy, which each check puts before its own system."""
    proxy = FaultProxy()
    yield proxy
    proxy.close()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    try:
        return (yield)
    except Told as told:
        pyfuncitem.stash[TOLD] = told
        return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _is_check(item) and (call.when == "call" or report.failed or (call.when == "setup" and report.skipped)):
        report_of(item).checks[item.nodeid] = _ended(item, report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = config.stash[REPORTS]
    if not reports.suites:
        return
    terminalreporter.section("adapters")
    for suite in reports.suites.values():
        for line in suite.lines():
            terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    path: Path | None = session.config.getoption("--conformance-report")
    if path is not None:
        path.write_text(session.config.stash[REPORTS].json(), encoding="utf-8")


def report_of(item: pytest.Function) -> SuiteReport:
    """The report of the suite that a check belongs to."""
    suite: type[StructuralSuite] = item.cls
    return item.config.stash[REPORTS].of(item.nodeid.partition("[")[0].rpartition("::")[0], suite.adapter.spec)


def _ended(item: pytest.Function, report: pytest.TestReport) -> Check:
    told = item.stash.get(TOLD, None)
    outcome, said = (told.outcome, str(told)) if told else (Outcome.PROVEN, "")
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        outcome, said = Outcome.FAILED, str(crash.message if crash else report.longrepr).partition("\n")[0]
    elif report.skipped:
        outcome, said = Outcome.NOT_SHOWN, _left_out(report)
    asked = getattr(item, "callspec", None)
    return Check(
        name=sentence(item.originalname),
        of=asked.id if asked else None,
        entity=asked.params.get("entity") if asked else None,
        outcome=outcome,
        message=said,
        seconds=report.duration,
        proves=getattr(item.function, "proves", None),
        once=getattr(item.function, "once", False),
    )


def _left_out(report: pytest.TestReport) -> str:
    """Why a check was skipped, or was expected to fail and did."""
    if hasattr(report, "wasxfail"):
        return f"expected to fail: {report.wasxfail}".strip()
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return f"skipped: {said.removeprefix('Skipped: ')}"


def _is_check(item: pytest.Item) -> TypeGuard[pytest.Function]:
    return isinstance(item, pytest.Function) and item.cls is not None and issubclass(item.cls, StructuralSuite)


def _is_closing(item: pytest.Item) -> bool:
    return _is_check(item) and item.originalname == CLOSING
