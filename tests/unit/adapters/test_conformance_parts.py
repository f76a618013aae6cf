"""The parts of the conformance kit: its proxy is no more than a proxy, and its report says what was shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from hub_adapter.conformance.outcome import Outcome
from hub_adapter.conformance.proxy import FaultProxy
from hub_adapter.conformance.records import RecordsAdapter
from hub_adapter.conformance.report import ONE_RECORD, Check, SuiteReport
from hub_adapter.conformance.system import altered, differences
from hub_adapter.port import AT_LEAST_ONCE, EFFECTIVELY_ONCE, Capability
from tests.support.processes import ROOT
from tests.support.scripted_http import ScriptedServer, answer

LEFT_OUT = """
import pytest
from hub_adapter.conformance.records import RecordsAdapter
from hub_adapter.conformance.structural import StructuralSuite

class TestRecords(StructuralSuite):
    adapter = RecordsAdapter()
    config = {"base_url": "https://records.example.com"}

    @pytest.mark.skip(reason="not today")
    def test_the_limits_can_be_kept(self): ...

    def test_the_settings_given_are_valid(self):
        pytest.skip("no settings")

    @pytest.mark.xfail(reason="known")
    def test_a_defect_is_told_as_one(self):
        raise AssertionError

    @pytest.mark.xfail(run=False)
    def test_every_call_of_the_port_is_answered(self): ...
"""


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    proxy = FaultProxy()
    yield proxy
    proxy.close()


def test_what_goes_through_the_proxy_arrives_as_it_was_sent(proxy: FaultProxy) -> None:
    with ScriptedServer(lambda seen: answer(207, "多".encode(), ['ETag: "e1"', "Date: then"])) as server:
        proxy.upstream = server.url
        url = f"{proxy.url}/a%20b/?q=1"
        reply = requests.request("PROPFIND", url, data=b"<x/>", headers={"Depth": "1"}, timeout=20)
        (seen,) = server.requests
    assert (seen.method, seen.path, seen.body, seen.headers["depth"]) == ("PROPFIND", "/a%20b/?q=1", b"<x/>", "1")
    assert seen.headers["host"] == server.url.removeprefix("http://")
    assert (reply.status_code, reply.content, reply.headers["ETag"]) == (207, "多".encode(), '"e1"')
    assert reply.headers["Date"] == "then"


def test_a_fault_befalls_the_request_it_is_meant_for(proxy: FaultProxy) -> None:
    with ScriptedServer() as server:
        proxy.upstream = server.url
        proxy.fail(method="GET", skip=1, status=429, headers={"Retry-After": "7"})
        sent = ("GET", "PUT", "GET", "GET")
        statuses = [requests.request(method, proxy.url, timeout=20).status_code for method in sent]
        assert (statuses, len(server.requests)) == ([200, 200, 429, 200], 3)
        proxy.fail(drop="after")
        with pytest.raises(requests.ConnectionError):
            requests.put(proxy.url, timeout=20)
        assert len(server.requests) == 4, "it is served, and only its answer is lost"


def test_an_altered_credential_keeps_its_form() -> None:
    assert altered("09af:zZ-é") == "10ba:gG-é"


def test_what_was_not_expected_is_no_difference_and_what_is_missing_is_null() -> None:
    told = {"a": {"b": 1, "theirs": 2}, "theirs": 3}
    assert differences({"a": {"b": 1}, "c": None}, told) == []
    assert differences({"a": {"b": 2}, "d": 1}, told) == ["/a/b", "/d"]


def check(name: str, outcome: Outcome, entity: str = "note", *, once: bool = True) -> Check:
    return Check(name=name, of=entity, entity=entity, outcome=outcome, message="", seconds=0.0,
                 proves=Capability(name) if name in set(Capability) else None, once=once)  # fmt: skip


def report(*checks: Check) -> SuiteReport:
    """A report on the kit's own adapter, as if it knew orders as well."""
    told = SuiteReport(replace(RecordsAdapter.spec, entities=("note", "order")))
    told.checks = {f"{one.name}[{one.of}]": one for one in checks}
    return told


FOUND = check("find_by_local_key", Outcome.PROVEN)
KEPT = tuple(check(name, Outcome.PROVEN) for name in sorted(ONE_RECORD))


def test_the_guarantee_is_earned_by_what_was_shown_and_lost_by_one_doubled_record() -> None:
    assert report().earned == AT_LEAST_ONCE
    assert report(*KEPT).earned == AT_LEAST_ONCE
    assert report(*KEPT, FOUND).earned == EFFECTIVELY_ONCE
    assert report(*KEPT, check("find_by_local_key", Outcome.NOT_SHOWN)).earned == AT_LEAST_ONCE
    assert report(*KEPT, FOUND, check("idempotency_key", Outcome.NOT_CLAIMED)).earned == EFFECTIVELY_ONCE
    assert report(*KEPT, FOUND, check("idempotency_key", Outcome.FAILED)).earned == AT_LEAST_ONCE
    assert report(check("native_upsert", Outcome.PROVEN)).proven == frozenset(), "what is not declared does not count"


def test_every_adapter_is_asked_whether_one_record_stays_one() -> None:
    assert {
        "a write that is repeated is one record",
        "an answer lost after the system acted ends in one record",
        "a worker killed at any step leaves one record",
    } == ONE_RECORD


@pytest.mark.parametrize("name", sorted(ONE_RECORD))
def test_no_guarantee_is_earned_by_a_check_that_was_not_run_or_showed_nothing(name: str) -> None:
    others = [one for one in KEPT if one.name != name]
    assert report(*others, FOUND).earned == AT_LEAST_ONCE
    assert report(*others, FOUND, check(name, Outcome.NOT_SHOWN)).earned == AT_LEAST_ONCE
    of_orders = [replace(one, of="order", entity="order") for one in others]
    assert report(*KEPT, *of_orders, FOUND).earned == AT_LEAST_ONCE, "it was run, and not of every entity asked"


def test_what_was_proven_is_told_with_the_entities_it_was_proven_of() -> None:
    silent = check("times come back as the same moment", Outcome.NOT_SHOWN, "order", once=False)
    one, both = report(*KEPT, silent), report(*KEPT, replace(silent, outcome=Outcome.FAILED))
    assert one.told()["entities"] == {"asked": ["note"], "not asked": ["order"]}
    assert "  asked of: note; not of: order" in one.lines()
    assert both.told()["entities"] == {"asked": ["note", "order"], "not asked": []}
    assert "  asked of: note, order" in both.lines()
    assert "  asked of: no entity; not of: note, order" in report().lines()


def reported(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run of the suite that leaves checks out, and where its report is if it wrote one."""
    suite, report = folder / "test_left_out.py", folder / "told.json"
    suite.write_text(LEFT_OUT, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", str(suite), "-p", "hub_adapter.conformance.plugin",
               "-p", "no:cacheprovider", "--import-mode=importlib",
               f"--conformance-report={report}", *options]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False), report


def test_a_check_that_was_left_out_is_not_proven(tmp_path: Path) -> None:
    """Skipped by mark or by word, expected to fail and did so, or not even run."""
    done, report = reported(tmp_path, "-k", "limits or settings_given or defect or every_call or the_spec_is")
    assert done.returncode == 0, done.stdout + done.stderr
    (suite,) = json.loads(report.read_text(encoding="utf-8"))["suites"].values()
    assert {one["name"]: (one["outcome"], one["message"]) for one in suite["checks"]} == {
        "the spec is one that the hub can list": ("proven", ""),
        "the limits can be kept": ("not shown", "skipped: not today"),
        "the settings given are valid": ("not shown", "skipped: no settings"),
        "a defect is told as one": ("not shown", "expected to fail: known"),
        "every call of the port is answered": ("not shown", "expected to fail: [NOTRUN]"),
    }


def test_a_report_of_several_processes_is_refused(tmp_path: Path) -> None:
    done, report = reported(tmp_path, "-n1")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert "--conformance-report is of one process: leave out -n" in done.stderr
    assert not report.exists()
