"""The first administrator: made once, by a command, with a password that nobody else ever sees."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from chassis import migrations
from contracts.errors import Unauthenticated
from services.identity import first_admin
from services.identity.models import User

from .conftest import PASSWORD


@pytest.fixture
def environ(identity: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {
        "HUB_HOME": str(settings.home), "DB_URI_IDENTITY": settings.db_uri, "IDENTITY_PASSWORD_HASH_MEMORY_MIB": "19",
    })  # fmt: skip


def password_in(output: str) -> str:
    found = re.search(r"^password: (\S+)$", output, re.MULTILINE)
    assert found, output
    return found[1]


@pytest.mark.usefixtures("environ")
def test_the_password_is_shown_once_opens_the_door_and_must_be_changed(
    identity: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert first_admin.main([]) == 0
    shown = capsys.readouterr()
    password = password_in(shown.out)
    assert shown.err == ""
    assert "username: admin" in shown.out
    assert identity.sign_in("admin", password)["must_change_password"]
    assert first_admin.main([]) == 0
    assert capsys.readouterr().out == "An administrator exists; nothing was made.\n"
    assert identity.sign_in("admin", password)


@pytest.mark.usefixtures("environ")
def test_the_password_is_in_no_file_that_the_hub_keeps(
    identity: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first_admin.main([])
    password = password_in(capsys.readouterr().out).encode()
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and password in file.read_bytes()]


@pytest.mark.usefixtures("environ")
def test_there_is_no_default_password(identity: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first_admin.main([])
    capsys.readouterr()
    for guess in ("admin", "password", "changeme", "", PASSWORD):
        with pytest.raises(Unauthenticated):
            identity.sign_in("admin", guess, source=f"10.9.9.{len(guess)}")
        with identity.db.write() as session:
            session.execute(User.metadata.tables["sign_in_guard"].delete())


@pytest.mark.usefixtures("environ")
def test_an_administrator_who_is_locked_out_gets_a_new_password_from_the_machine(
    identity: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    identity.user("boss", "admin")
    identity.user("wei", "sales")
    old = identity.sign_in("boss")["token"]
    assert first_admin.main(["--reset", "boss"]) == 0
    password = password_in(capsys.readouterr().out)
    assert identity.sign_in("boss", password)
    with pytest.raises(Unauthenticated):
        identity.introspect(old)
    assert first_admin.main(["--reset", "wei"]) == 2
    assert "no administrator is called wei" in capsys.readouterr().err


@pytest.mark.usefixtures("environ")
def test_a_user_name_that_is_none_is_refused(identity: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert first_admin.main(["--username", "not a name"]) == 2
    assert capsys.readouterr().out == ""


def test_without_a_migrated_database_or_a_master_key_it_says_what_to_do(
    settings: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {"HUB_HOME": str(settings.home), "DB_URI_IDENTITY": settings.db_uri})
    assert first_admin.main([]) == 2
    assert "restore the master key" in capsys.readouterr().err
    first_admin.MasterKey.create(settings.master_key_file)
    assert first_admin.main([]) == 2
    assert "hub migrate identity" in capsys.readouterr().err


def test_two_that_start_at_once_make_one_administrator(processes: Any) -> None:
    from chassis.crypto import MasterKey

    MasterKey.create(processes.home / "keys" / "master.key")
    migrations.upgrade("identity", f"sqlite:///{processes.home}/db/identity.sqlite")
    command = [sys.executable, "-W", "ignore", "-m", "services.identity.first_admin"]
    started = [processes.start(f"first-admin-{n}", command) for n in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    outputs = sorted(process.log() for process in started)
    assert outputs[0] == "An administrator exists; nothing was made.\n"
    assert password_in(outputs[1])
