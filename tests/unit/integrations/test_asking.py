"""A question outside any delivery: what it fails with is told by class, and a credential that ended is renewed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chassis.database import utcnow
from contracts.errors import Unavailable
from hub_adapter.failure import AuthRefused, TryLater
from services.integrations.engine.asking import CallFailed, ask
from tests.support.fake_target import FakeAdapter


class Lent:
    """A target that lends its adapter, and what it would answer."""

    adapter = FakeAdapter()

    def __init__(self, answer: Callable[[], str]) -> None:
        self.answer = answer

    @contextmanager
    def calling(self, *given: Any, **named: Any) -> Iterator[None]:
        yield None

    def redacted(self, text: str) -> str:
        return text


def raising(error: Exception) -> Callable[..., Any]:
    def fails(*given: Any) -> Any:
        raise error

    return fails


def asked(renew: Callable[..., Any]) -> str:
    refused: Any = Lent(raising(AuthRefused("the token has ended")))
    return str(ask(refused, lambda target, ctx: target.answer(), renew, utcnow, 1.0))  # type: ignore[attr-defined]


def test_it_is_asked_once_more_where_the_credential_only_had_to_be_renewed() -> None:
    assert asked(lambda target, within_s: Lent(lambda: "there")) == "there"


@pytest.mark.parametrize(("renew", "told"), [
    (lambda target, within_s: None, "auth: the token has ended"),
    (lambda target, within_s: Lent(raising(AuthRefused("the new one too"))), "auth: the new one too"),
    (raising(TryLater("the issuer is down")), "transient: the issuer is down"),
], ids=["nothing to renew it by", "the fresh one refused", "the issuer down"])
def test_what_keeps_it_from_an_answer_is_told_by_its_class(renew: Callable[..., Any], told: str) -> None:
    with pytest.raises(CallFailed) as caught:
        asked(renew)
    assert f"{caught.value.failed.kind}: {caught.value.failed.message}" == told


def test_a_database_that_is_away_is_no_fault_of_the_target() -> None:
    with pytest.raises(Unavailable):
        asked(raising(Unavailable("the database is away")))
