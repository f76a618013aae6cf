"""Whoever waits for a delivery reads what comes next, whatever state it is in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

import pytest

from services.integrations.domain import failures, finding_reasons
from services.integrations.domain.deliveries import OPEN, STATES
from services.integrations.domain.next_steps import (
    AWAY,
    BY_STATE,
    OF_THE_DEAD,
    OF_THE_UNMATCHED,
    PACED,
    PAUSED,
    REFUSED_ORDER,
    STOPPED,
    THROTTLED,
    next_step,
)
from services.integrations.domain.pauses import ADVICE, Code
from services.integrations.operations.replays import REASONS


@dataclass
class Standing:
    """A connection."""

    desired_state: str = "active"
    pause_code: str | None = None
    health: str = "ok"


WELL = Standing()
OF_FINDINGS = [finding_reasons.NOT_OPENED, finding_reasons.DELETED, finding_reasons.UNDER_WAY, finding_reasons.GONE,
               finding_reasons.ours_bound("35"), finding_reasons.theirs_bound("order", "7"),
               finding_reasons.refused("no tax number")]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("words", [*BY_STATE.values(), *OF_THE_DEAD.values(), *OF_THE_UNMATCHED.values(), PAUSED,
                                   STOPPED, REFUSED_ORDER, AWAY, THROTTLED, PACED, *REASONS.values(), *OF_FINDINGS])
def test_every_step_and_every_reason_of_a_finding_is_told_in_english_and_chinese(words: dict[str, str]) -> None:
    assert set(words) == {"en", "zh-CN"}
    assert CHINESE.search(words["zh-CN"])
    assert not CHINESE.search(words["en"])


def test_every_state_has_a_next_step() -> None:
    assert set(BY_STATE) == set(STATES)


@pytest.mark.parametrize("error_class", [failures.INVALID, failures.ALREADY_EXISTS, failures.TRANSIENT,
                                         failures.VERSION_CONFLICT, failures.NOT_FOUND,
                                         failures.DEPENDENCY_MISSING, failures.AMBIGUOUS,
                                         failures.UNRESOLVABLE, failures.PACED, failures.ADAPTER_ERROR])
def test_a_delivery_that_is_given_up_says_what_to_do_about_its_error(error_class: str) -> None:
    assert next_step("dead", error_class, WELL, "customer") == OF_THE_DEAD[error_class] != BY_STATE["dead"]


def test_a_refused_order_is_not_said_to_go_by_a_change_that_nobody_can_make() -> None:
    assert next_step("dead", failures.INVALID, WELL, "order") == REFUSED_ORDER
    assert "hub retry" in REFUSED_ORDER["en"]
    assert next_step("dead", failures.TRANSIENT, WELL, "order") == OF_THE_DEAD[failures.TRANSIENT]


@pytest.mark.parametrize(("state", "error_class"), [("retry_wait", failures.AWAITING_MATCH),
                                                    ("skipped", failures.LEFT_OUT)])
def test_what_may_be_there_already_says_that_a_match_decides(state: str, error_class: str) -> None:
    assert next_step(state, error_class, WELL, "customer") == OF_THE_UNMATCHED[error_class] != BY_STATE[state]
    assert next_step("delivered", error_class, WELL, "customer") == BY_STATE["delivered"]


def test_a_delivery_that_is_given_up_for_a_reason_of_a_newer_version_still_says_what_to_do() -> None:
    assert next_step("dead", "not heard of", WELL, "customer") == BY_STATE["dead"]


@pytest.mark.parametrize("state", [state for state in OPEN if state != "leased"])
def test_what_waits_at_a_paused_connection_says_so_and_not_that_it_is_tried_again(state: str) -> None:
    assert next_step(state, None, Standing("paused"), "customer") == PAUSED
    assert next_step(state, None, Standing("stopped", health="open"), "customer") == STOPPED
    for code in get_args(Code):
        assert next_step(state, None, Standing("paused", code), "customer") == ADVICE[code]


def test_a_pause_says_nothing_of_what_has_arrived() -> None:
    assert next_step("delivered", None, Standing("paused", "auth"), "customer") == BY_STATE["delivered"]


def test_what_waits_for_our_own_pace_does_not_say_that_the_other_system_asked_for_it() -> None:
    assert next_step("retry_wait", failures.PACED, WELL, "customer") == PACED


@pytest.mark.parametrize(("health", "words"), [("open", AWAY), ("half_open", AWAY), ("throttled", THROTTLED)])
def test_what_waits_for_a_system_that_is_away_says_that_nothing_is_to_do_here(health: str,
                                                                                words: dict[str, str]) -> None:
    assert next_step("retry_wait", failures.TRANSIENT, Standing(health=health), "customer") == words
    assert "no attempt used" not in words["en"], "the call that found it away was one"
    assert next_step("dead", failures.INVALID, Standing(health=health), "customer") == OF_THE_DEAD[failures.INVALID]
