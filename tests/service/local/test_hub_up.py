"""`hub up`, `status`, `doctor` and `down` on a real machine: the private broker, one real room, real signals."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from alembic import command

from chassis import migrations
from chassis.crypto import DataKeys, Keyring, MasterKey
from hub import databases, readiness
from hub.bring_up import BringUp
from hub.installation import Installation
from hub.machine import processes_with
from hub.supervisor import State, Supervisor
from tests.support.processes import INHERITED, ROOT, eventually, free_port


@dataclass
class Answer:
    """What one call of the command line gave back."""

    code: int
    text: str
    errors: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.text)
        return document


@dataclass
class CommandLine:
    """`hub` with an environment of its own, away from the default ports."""

    env: dict[str, str]

    @property
    def home(self) -> Path:
        return Path(self.env["HUB_HOME"])

    def __call__(self, *arguments: str, **env: str) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "hub", *arguments],
            cwd=ROOT, env=self.env | env, capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
        return Answer(done.returncode, done.stdout, done.stderr)

    def program(self, name: str) -> dict[str, Any]:
        programs = self("status", "--json").document["programs"]
        return next((program for program in programs if program["name"] == name), {})


def process_file(folder: Path, *programs: str) -> Path:
    """The real process file with these programs only."""
    parser = configparser.RawConfigParser(comment_prefixes=(";",))
    parser.read(ROOT / "deploy" / "local" / "supervisord.conf")
    for section in parser.sections():
        kind, _, name = section.partition(":")
        if kind == "group" or (kind == "program" and name not in programs):
            parser.remove_section(section)
    target = folder / "processes.conf"
    with target.open("w") as file:
        parser.write(file)
    return target


def assert_told(answer: Answer, *parts: str) -> None:
    """A line in English and one in Chinese."""
    assert answer.code == 1, answer
    english, chinese = answer.errors.splitlines()
    for part in parts:
        assert part in english
    assert re.search(r"[\u4e00-\u9fff].*：.*[\u4e00-\u9fff]", chinese), chinese


def downgrade(room: str, home: Path) -> None:
    """Take a database to the revision before the newest: new code, seen from there."""
    command.downgrade(migrations.config(room, f"sqlite:///{home}/db/{room}.sqlite"), "-1")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[CommandLine]:
    # Not below tmp_path: a unix socket in there would have too long a name.
    home = Path(tempfile.mkdtemp(prefix="h"))
    env = {key: os.environ[key] for key in INHERITED if key in os.environ}
    env |= {
        "HUB_HOME": str(home),
        "HUB_PROCESS_FILE": str(process_file(tmp_path, "broker", "identity", "customers")),
        "HUB_BROKER_PORT": str(free_port(in_a_row=3)),
        "HUB_PORT": str(free_port()),
        "HEALTH_ADDRESS_IDENTITY": f"127.0.0.1:{free_port()}",
        "HEALTH_ADDRESS_CUSTOMERS": f"127.0.0.1:{free_port()}",
    }
    command_line = CommandLine(env)
    yield command_line
    if processes_with("HUB_SUPERVISED", str(home)):
        command_line("down")
    shutil.rmtree(home)


def test_a_first_up_serves_and_down_leaves_nothing_but_data_and_keys(hub: CommandLine) -> None:
    began = hub("up", "--json")
    assert began.code == 0, began.text + began.errors
    assert "customers ready" in [step["step"] for step in began.document["steps"]]
    assert len(began.document["first_admin"]["password"]) >= 12
    assert hub.program("customers")["ready"]
    assert hub.program("broker")["memory_mb"] > 20

    healthy = hub("doctor", "--json")
    assert healthy.code == 0, healthy.text

    started = time.monotonic()
    again = hub("up", "--json")
    assert again.code == 0
    assert "first_admin" not in again.document, "a password is shown once"
    assert [step["step"] for step in again.document["steps"] if step["step"].endswith(" ready")] == ["keys ready"]
    assert time.monotonic() - started < 10

    old, other = hub.program("customers")["pid"], hub.program("identity")["pid"]
    downgrade("customers", hub.home)
    assert hub("up").code == 0
    assert hub.program("customers")["pid"] != old, "it may know neither new tables nor new columns"
    assert hub.program("identity")["pid"] == other
    assert hub.program("customers")["ready"]

    assert_told(hub("up", HUB_LOG_LEVEL="DEBUG"), "other settings", "hub down, then hub up")

    killed = hub.program("customers")["pid"]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: hub.program("customers").get("pid") not in {None, killed}, 20)
    eventually(lambda: hub.program("customers").get("ready"), 20)

    assert hub("down").code == 0
    assert processes_with("HUB_SUPERVISED", str(hub.home)) == {}
    assert hub("status").code == 3
    for secret in ("keys/master.key", "keys/gateway-signing.pem", "broker/password", "db/customers.sqlite"):
        assert stat.S_IMODE((hub.home / secret).stat().st_mode) == 0o600, secret


def test_a_first_run_that_was_cut_off_is_finished_by_the_next_and_processes_without_a_keeper_are_replaced(
    hub: CommandLine
) -> None:
    leave_a_first_run_that_was_cut_off(hub)
    finished = hub("up")
    assert finished.code == 0, finished.errors
    assert hub.program("customers")["ready"]

    os.kill(int((hub.home / "run" / "supervisord.pid").read_text()), signal.SIGKILL)
    eventually(lambda: hub("status").code == 3, 10)
    assert "without their keeper" in hub("doctor").text

    again = hub("up")
    assert again.code == 0, again.errors
    assert hub.program("customers")["ready"]


def leave_a_first_run_that_was_cut_off(hub: CommandLine) -> None:
    """Leave half of each file that a first run writes before anything of it runs."""
    run = hub.home / "run"
    run.mkdir(parents=True)
    (run / "supervisord.pid").write_text("999999")
    (run / "supervisord.conf").write_text("[superv")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(run / "supervisor.sock"))
    (hub.home / "broker" / "home").mkdir(parents=True)
    (hub.home / "broker" / "password").write_text("0" * 48)


def test_a_room_that_hub_migrate_left_behind_is_started_anew_too(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    runs = State(name="sales", state="running", pid=1, since=None)
    monkeypatch.setattr(Supervisor, "states", lambda _: {"sales": runs})
    monkeypatch.setattr(Supervisor, "stop_program", lambda _, program: done.append(f"stop {program.name}"))
    monkeypatch.setattr(databases, "is_old", lambda _, __: False)
    monkeypatch.setattr(databases, "migrate", lambda room, _: done.append(f"migrate {room}"))
    lacks = {"sales": "migrations: the database is at version 0004, not 0003; run: hub migrate sales"}
    monkeypatch.setattr(readiness, "missing", lambda _, program: lacks.get(program.name))
    bring_up = BringUp(Installation({"HUB_HOME": str(tmp_path)}), lambda *_: None)
    bring_up._migrate("sales", "")
    bring_up._migrate("customers", "")
    lacks["sales"] = "rpc: connecting"
    bring_up._migrate("sales", "")
    assert done == ["stop sales", "migrate sales", "migrate customers", "migrate sales"]


# -- what keeps the hub from starting: a line in each language, and a way out ------------------------------------------


def test_a_busy_port_is_named_with_its_holder_and_its_setting(hub: CommandLine) -> None:
    port = int(hub.env["HUB_BROKER_PORT"])
    with socket.create_server(("127.0.0.1", port)):
        assert_told(hub("up"), f"port {port} of broker", f"pid {os.getpid()}", "set HUB_BROKER_PORT")
        assert f"port {port}" in hub("doctor").text


def test_a_machine_without_rabbitmq_is_told_how_to_get_it(hub: CommandLine) -> None:
    answer = hub("up", HUB_RABBITMQ_BIN="/nonexistent")
    assert_told(answer, "RabbitMQ is not installed", "bootstrap.sh", "AMQP_URI")
    assert hub("doctor", HUB_RABBITMQ_BIN="/nonexistent").code == 1


def test_a_folder_that_cannot_be_written_is_named(hub: CommandLine) -> None:
    assert_told(hub("up", HUB_HOME="/dev/null/hub"), "/dev/null/hub cannot be written", "set HUB_HOME")


def test_a_folder_too_deep_for_a_socket_is_named(hub: CommandLine, tmp_path: Path) -> None:
    deep = str(tmp_path / ("d" * 90))
    assert_told(hub("up", HUB_HOME=deep), "too long a path", "set HUB_HOME")


def test_a_full_disk_is_noticed_before_anything_starts(hub: CommandLine, tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "sitecustomize.py").write_text(
        "import shutil\nshutil.disk_usage = lambda _: type('Usage', (), {'free': 7 * 1048576})()\n"
    )
    assert_told(hub("up", PYTHONPATH=str(stub)), "has 7 MB free", "needs 500 MB", "free some space")
    assert hub("doctor", PYTHONPATH=str(stub)).code == 1


def test_a_room_that_refuses_its_settings_is_quoted(hub: CommandLine) -> None:
    # Somebody else's broker, which need not answer: settings are read before it is asked.
    refused = hub("up", MAX_WORKERS_CUSTOMERS="many", AMQP_URI="amqp://127.0.0.1:1//")
    assert_told(refused, "customers does not start", "MAX_WORKERS_CUSTOMERS", "customers.log")
    checked = hub("config", "check", MAX_WORKERS_CUSTOMERS="many")
    assert checked.code == 1
    assert "MAX_WORKERS_CUSTOMERS" in checked.text


def test_a_missing_master_key_is_never_replaced_over_data_it_sealed(hub: CommandLine) -> None:
    assert hub("migrate", "customers").code == 0
    master = MasterKey.create(hub.home / "keys" / "master.key")
    Keyring(master, DataKeys(f"sqlite:///{hub.home}/db/customers.sqlite")).prepare()
    (hub.home / "keys" / "master.key").unlink()
    assert_told(hub("up"), "master key", "is missing", "customers", "restore the key")
    assert hub("doctor").code == 1


def test_trouble_is_one_json_document_when_asked_for(hub: CommandLine) -> None:
    answer = hub("up", "--json", HUB_RABBITMQ_BIN="/nonexistent")
    assert answer.code == 1
    assert answer.document["problem"] == "RabbitMQ is not installed on this machine"


def test_config_check_hides_secrets(hub: CommandLine) -> None:
    answer = hub("config", "check", "customers", "--json", AMQP_URI="amqp://somebody:planted-secret@127.0.0.1/")
    assert answer.code == 0, answer.text
    assert "planted-secret" not in answer.text + answer.errors


def test_a_room_or_sandbox_that_does_not_exist_is_refused_with_those_that_do(hub: CommandLine) -> None:
    assert_told(hub("migrate", "payroll"), "payroll", "customers")
    assert_told(hub("up", "--with", "tritone"), "tritone", "none")
