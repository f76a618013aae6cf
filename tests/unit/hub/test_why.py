"""What `hub why` makes of the gateway's answer."""

from __future__ import annotations

from typing import Any

import pytest

from hub.trouble import Trouble
from hub.why import has_arrived, latest


def answer(*deliveries: dict[str, Any]) -> dict[str, Any]:
    """An answer that tells of these, the newest first."""
    return {"deliveries": {"items": list(deliveries)}, "missing": []}


def delivery(state: str, error_class: str | None = None, *, to: str = "ERP") -> dict[str, Any]:
    return {"connection_id": to, "state": state, "error_class": error_class}


def test_the_newest_delivery_to_each_system_decides() -> None:
    again, before, elsewhere = delivery("delivered"), delivery("dead", "invalid"), delivery("pending", to="OA")
    assert latest(answer(again, elsewhere, before)) == [again, elsewhere]
    assert has_arrived(answer(again, before))
    assert not has_arrived(answer(again, elsewhere))


def test_what_needed_no_call_has_arrived_and_what_was_left_out_has_not() -> None:
    assert has_arrived(answer(delivery("skipped")))
    assert not has_arrived(answer(delivery("skipped", "left_out")))


def test_what_went_nowhere_has_not_arrived() -> None:
    assert not has_arrived(answer())


def test_an_answer_without_the_integrations_service_is_no_answer() -> None:
    with pytest.raises(Trouble, match="The integrations service is not there"):
        latest({"deliveries": None, "missing": [{"message": "The integrations service is not there"}]})
