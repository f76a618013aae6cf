"""An adapter that is wrong fails the conformance kit, and where it is wrong: no check passes everybody."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from hub_adapter.conformance.report import sentence
from hub_adapter.conformance.suite import ConformanceSuite
from tests.support import mutant_adapters
from tests.support.processes import ROOT

SUITES = ("tests/support/bad_adapters.py", "tests/support/mutant_adapters.py")
MUTANTS: dict[str, frozenset[str]] = {
    name: one.fails for name, one in vars(mutant_adapters).items() if hasattr(one, "fails")
}
"""Suite of an adapter with one thing wrong → the checks that find it."""
NAIVE = {
    # It creates without a look-up.
    "a write that is repeated is one record",
    "an answer lost after the system acted ends in one record",
    "a worker killed at any step leaves one record",
    # It swallows 429.
    "every status of a change has its class",
    "retry after is kept as seconds and as a date",
    "a limit of the hubs own is passed on",
    # It ignores versions, and declares that it does not.
    "a stale version never overwrites",
    "every declared capability is proven",
}
SLOPPY = {
    "check tells of a system out of reach instead of raising",
    "check names the settings that are missing",
    "check passes a good connection and changes nothing",
    "check fails on bad credentials",
    "check tells of a system that is down",
    "a refused credential has its class in every call",
    "no secret is told where nobody is reached",
    "no secret is logged or shown",
    "all traffic goes through the session",
    "a dry run changes nothing",
    "a look up by an unknown key is refused",
    "what is written is read back",
    "texts come back as they were written",
    "decimals come back as the same number",
    "times come back as the same moment",
    "null and missing come back as expected",
    "a change reaches the record",
    "a stale version never overwrites",
    "a listing is whole while rows change",
    "a failed page is never complete",
    "deleting twice is no error",
    "a delete cut off at any step is finished by the next",
    "our own write is known by its version",
    "a message without signature is refused",
    "a forged message is refused",
    "an old message is refused however well it is signed",
    "a message is one by its body and its signed headers",
    "ten calls with an ended token are refused and one refresh helps all",
    "every declared capability is proven",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The kit's report on the bad adapters, by the names of their suites."""
    path = tmp_path_factory.mktemp("kit") / "conformance.json"
    command = [sys.executable, "-m", "pytest", *SUITES, "--noconftest", "-p", "hub_adapter.conformance.plugin",
               "-p", "no:cacheprovider", "-o", "addopts=", "--import-mode=importlib", "--tb=no", "-q",
               f"--conformance-report={path}"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    suites = json.loads(path.read_text())["suites"]
    return {name.rpartition("::")[2]: suite for name, suite in suites.items()}


def failed(suite: dict[str, Any]) -> set[str]:
    return {check["name"] for check in suite["checks"] if check["outcome"] == "failed"}


def test_a_naive_adapter_fails_where_it_is_naive_and_nowhere_else(told: dict[str, Any]) -> None:
    assert failed(told["TestNaive"]) == NAIVE


def test_what_a_naive_adapter_declares_is_not_what_it_earns(told: dict[str, Any]) -> None:
    naive = told["TestNaive"]
    assert naive["guarantee"] == {"declared": "effectively once", "earned": "at least once, in doubt to a person"}
    assert naive["capabilities"]["declared, not proven"] == ["conditional_write"]


def test_a_sloppy_adapter_fails_each_check_that_it_breaks(told: dict[str, Any]) -> None:
    assert failed(told["TestSloppy"]) == SLOPPY


@pytest.mark.parametrize("mutant", MUTANTS)
def test_an_adapter_with_one_thing_wrong_fails_the_checks_that_are_about_it(told: dict[str, Any], mutant: str) -> None:
    assert failed(told[mutant]) == MUTANTS[mutant]


def test_every_check_of_the_kit_is_failed_by_somebody() -> None:
    checks = {sentence(name) for name in dir(ConformanceSuite) if name.startswith("test_")}
    assert checks == NAIVE.union(SLOPPY, *MUTANTS.values())


def test_what_is_not_claimed_is_told_with_its_reason(told: dict[str, Any]) -> None:
    silent = {check["name"]: check["message"] for check in told["TestNaive"]["checks"]
              if check["outcome"] == "not claimed"}  # fmt: skip
    assert silent["two workers at once make one record"] == "the adapter does not declare idempotency_key"
    assert {"idempotency_key", "native_upsert"} == set(told["TestNaive"]["capabilities"]["not claimed"])
