"""What a person learns about a connection before it is switched on, and what its failures mean."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hub_adapter.failure import AdapterError, AuthRefused, ErrorClass, Invalid, TryLater
from hub_adapter.port import Context
from services.integrations.adapters.caldav.adapter import CaldavAdapter
from tests.adapters.caldav.calling import as_write
from tests.support.chaos_proxy import ChaosProxy
from tests.support.processes import free_port
from tests.support.radicale import TaskServer
from tests.support.records import a_task

Open = Callable[..., Context]


def test_a_good_connection_has_no_problems(adapter: CaldavAdapter, ctx: Open) -> None:
    checked = adapter.check(ctx())
    assert checked.ok, checked.problems


def test_settings_that_cannot_be_used_are_named_without_a_call(adapter: CaldavAdapter, ctx: Open) -> None:
    context = ctx(base_url="cal.example.com", home="/team", time_zone="Mars/Base")
    assert {problem.field for problem in adapter.check(context).problems} == {"base_url", "home", "time_zone"}
    assert context.http.calls == 0


def test_a_wrong_password_is_an_auth_failure(adapter: CaldavAdapter, ctx: Open, account: str) -> None:
    with pytest.raises(AuthRefused):
        adapter.write(ctx(password="wrong"), "task", as_write(a_task(), account))
    checked = adapter.check(ctx(password="wrong"))
    assert (checked.error_class, checked.problems[0].field) == (ErrorClass.AUTH, "password")


def test_a_home_that_is_not_there_is_named(adapter: CaldavAdapter, ctx: Open) -> None:
    assert [problem.field for problem in adapter.check(ctx(home="/nowhere/")).problems] == ["home"]
    assert [problem.field for problem in adapter.check(ctx(home="/team/nobody/")).problems] == ["home"]


def test_a_calendar_that_we_may_not_write_costs_the_task_and_not_the_connection(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    server.make_calendar(f"readonly-{account}")
    with pytest.raises(Invalid) as refused:
        adapter.write(ctx(), "task", as_write(a_task(), f"readonly-{account}"))
    assert (refused.value.failure.http_status, refused.value.failure.field) == (403, "/assignee_id")


def test_a_server_that_is_not_there_is_a_matter_of_time(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    assert adapter.check(ctx(base_url=gone)).error_class is ErrorClass.TRANSIENT
    with ChaosProxy(("127.0.0.1", server.port), mode="refuse") as link, pytest.raises(TryLater):
        adapter.find(ctx(base_url=f"http://127.0.0.1:{link.port}"), "task", {"id": "x"})


def test_a_target_in_a_network_that_is_not_allowed_is_not_called(adapter: CaldavAdapter, ctx: Open) -> None:
    checked = adapter.check(ctx(allow_private=[]))
    assert "does not allow" in checked.problems[0].message


def test_what_is_no_task_is_not_for_this_adapter(adapter: CaldavAdapter, ctx: Open) -> None:
    with pytest.raises(AdapterError, match="no customer"):
        adapter.get(ctx(), "customer", "1")
    for keys in ({}, {"title": "x"}):
        with pytest.raises(Invalid):
            adapter.find(ctx(), "task", keys)
