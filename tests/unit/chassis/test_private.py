"""Secrets in files: whole or not at all, for their owner alone, also when the process ends in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chassis import private
from deploy.local import broker
from deploy.local.broker import Broker
from tests.support.processes import ROOT

CUT_OFF = """
import os, sys
from pathlib import Path
os.fsync = lambda _file: os._exit(9)
{}
"""


def cut_off(program: str, *arguments: str) -> None:
    """Run a program that ends where its secret would reach the disk."""
    command = [sys.executable, "-c", CUT_OFF.format(program), *arguments]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 9


def test_a_private_file_is_for_its_owner_and_written_once(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "secret"
    private.write_once(file, b"first")
    assert (private.mode_of(file), private.open_to_others(file)) == (0o600, False)
    with pytest.raises(FileExistsError):
        private.write_once(file, b"second")
    assert file.read_bytes() == b"first"
    private.write_over(file, b"third")
    assert (file.read_bytes(), private.mode_of(file)) == (b"third", 0o600)
    assert os.listdir(file.parent) == ["secret"]  # noqa: PTH208 (names alone)


@pytest.mark.parametrize("verb", ["write_once", "write_over"])
def test_a_private_file_cut_off_while_it_is_written_is_not_there(tmp_path: Path, verb: str) -> None:
    cut_off(f"from chassis import private; private.{verb}(Path(sys.argv[1]), b'secret')", str(tmp_path / "secret"))
    assert not (tmp_path / "secret").exists()


def test_the_secrets_of_a_broker_cut_off_at_its_first_start_are_made_whole_by_the_next(tmp_path: Path) -> None:
    cut_off("from deploy.local.broker import Broker; Broker(directory=Path(sys.argv[1])).password()", str(tmp_path))
    assert not (tmp_path / "password").exists()
    password = Broker(directory=tmp_path).password()
    assert len(password) == 48
    assert Broker(directory=tmp_path).password() == password


def test_an_erlang_cookie_without_a_word_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    cookie = tmp_path / "home" / ".erlang.cookie"
    cookie.touch(mode=0o600)
    (tmp_path / "password").touch(mode=0o600)
    node = Broker(directory=tmp_path)
    node._prepare()
    assert (len(cookie.read_text()), private.mode_of(cookie)) == (48, 0o400)
    assert len(node.password()) == 48
    kept = cookie.read_text()
    node._prepare()
    assert cookie.read_text() == kept


def test_two_first_starts_agree_on_one_secret(tmp_path: Path) -> None:
    broker.write_once(tmp_path / "password", "one", mode=0o600)
    broker.write_once(tmp_path / "password", "two", mode=0o600)
    assert (tmp_path / "password").read_text() == "one"
