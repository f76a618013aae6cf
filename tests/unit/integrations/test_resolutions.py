"""What may be decided about a conflict, by why it is one and what its owner takes over."""

from __future__ import annotations

import pytest

from gateway.sentences import OF_DETAILS, in_chinese
from hub_adapter.port import Capability
from services.integrations.adapters import registry
from services.integrations.domain.resolutions import REASONS, Resolution, why_not
from services.integrations.domain.takeovers import TAKEN, shared


@pytest.mark.parametrize(("code", "resolution", "entity", "fields", "bound", "said"), [
    ("duplicate_remote", "keep_local", "task", [], True, "merge or delete one of the two"),
    ("duplicate_remote", "keep_remote", "task", [], True, "merge or delete one of the two"),
    ("stale_binding", "keep_remote", "task", [], True, "keep_local finds it by our key"),
    ("delete_refused", "keep_remote", "task", [], True, "tries once more"),
    ("missing_remote", "keep_remote", "customer", [], True, "does not end it here"),
    ("missing_local", "keep_remote", "contact", [], False, "make it here, or delete it there"),
    ("mismatch", "keep_remote", "customer", ["name", "phone"], True, "is taken over: consent. Change the record here"),
    ("mismatch", "keep_remote", "task", ["title", "account"], True, "or decide keep_local"),
    ("version_conflict", "keep_remote", "contact", [], True, "is taken over: consent"),
])
def test_what_would_have_no_effect_or_another_is_refused_with_what_to_do_instead(
    code: str, resolution: Resolution, entity: str, fields: list[str], bound: bool, said: str
) -> None:
    why = why_not(code, resolution, entity, fields, bound=bound)

    assert why is not None
    assert said in why


@pytest.mark.parametrize(("code", "resolution", "entity", "fields", "bound"), [
    ("changed_on_both_sides", "keep_local", "task", ["title"], True),
    ("changed_on_both_sides", "keep_remote", "task", ["title"], True),
    ("invalid_transition", "keep_remote", "task", ["status"], True),
    ("consent_refused", "keep_remote", "contact", ["consent"], True),
    ("missing_remote", "keep_local", "customer", [], True),
    ("missing_remote", "keep_remote", "task", [], True),
    ("missing_local", "keep_remote", "task", [], False),
    ("stale_binding", "keep_local", "customer", [], True),
    ("shipped_after_cancelling", "keep_remote", "order", ["shipments"], True),
])
def test_what_takes_effect_may_be_decided(
    code: str, resolution: Resolution, entity: str, fields: list[str], bound: bool
) -> None:
    assert why_not(code, resolution, entity, fields, bound=bound) is None


@pytest.mark.parametrize("code", REASONS)
def test_every_conflict_may_be_dismissed(code: str) -> None:
    assert why_not(code, "dismissed", "customer", ["name"], bound=True) is None


def test_only_what_both_sides_write_with_care_needs_an_owner() -> None:
    caldav, ghost = registry.load("caldav").spec, registry.load("ghost").spec

    assert shared(caldav, "task") == TAKEN["task"]
    assert Capability.CONDITIONAL_WRITE not in ghost.capabilities
    assert shared(ghost, "contact") == frozenset()


@pytest.mark.parametrize(("code", "resolution", "fields", "bound"), [
    ("duplicate_remote", "keep_local", [], True), ("duplicate_remote", "keep_remote", [], True),
    ("stale_binding", "keep_remote", [], True), ("delete_refused", "keep_remote", [], True),
    ("missing_remote", "keep_remote", [], True), ("missing_local", "keep_remote", [], False),
    ("mismatch", "keep_remote", ["name"], True),
])
def test_a_refused_decision_is_told_in_chinese_too(
    code: str, resolution: Resolution, fields: list[str], bound: bool
) -> None:
    why = why_not(code, resolution, "contact", fields, bound=bound)

    assert why is not None
    assert in_chinese(why, OF_DETAILS) is not None
