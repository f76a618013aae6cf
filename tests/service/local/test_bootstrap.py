"""deploy/local/bootstrap.sh on machines that lack something: each ends in one line that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import ROOT

NEEDED = ("bash", "awk", "cat", "cut", "date", "df", "dirname", "flock", "grep", "id", "mkdir", "mv", "rm", "sed",
          "sha256sum", "sleep", "tail", "chmod", "cp", "env")  # fmt: skip


@dataclass
class Machine:
    """A checkout with a bootstrap script, a PATH of its own and nothing installed."""

    root: Path
    environ: dict[str, str]

    def has(self, program: str, body: str) -> None:
        """Put a stand-in for a system program on this machine's PATH."""
        target = self.root / "bin" / program
        target.unlink(missing_ok=True)
        target.write_text(f"#!/bin/sh\n{body}\n")
        target.chmod(0o755)

    def bootstrap(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(self.root / "deploy" / "local" / "bootstrap.sh"), *arguments]
        return subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "bin").mkdir()
    for program in NEEDED:
        found = shutil.which(program)
        assert found, program
        (tmp_path / "bin" / program).symlink_to(found)
    (tmp_path / "deploy" / "local").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "local" / "bootstrap.sh", tmp_path / "deploy" / "local")
    (tmp_path / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "dev.txt", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    environ = {
        "PATH": str(tmp_path / "bin"),
        "HUB_HOME": str(tmp_path / "home"),
        "HUB_RABBITMQ_BIN": str(tmp_path / "no-rabbitmq"),
        "POLICY_RC_D": str(tmp_path / "policy-rc.d"),
    }
    return Machine(tmp_path, environ)


def as_root(machine: Machine) -> None:
    machine.has("id", "echo 0")


def assert_one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, done
    assert done.stderr.startswith("bootstrap: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def test_neither_root_nor_sudo_is_told_what_an_administrator_must_run(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has("apt-get", "exit 0")
    assert_one_line(machine.bootstrap(), "neither root nor may use sudo", "apt-get install", "rabbitmq-server")


def test_sudo_that_asks_for_a_password_without_a_terminal_is_no_sudo(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has("apt-get", "exit 0")
    machine.has("sudo", "exit 1")
    assert_one_line(machine.bootstrap(), "neither root nor may use sudo")


def test_another_distribution_is_told_what_it_must_bring(machine: Machine) -> None:
    as_root(machine)
    assert_one_line(machine.bootstrap(), "no Debian or Ubuntu", "RabbitMQ 3.10+")
    assert (machine.root / "home").stat().st_mode & 0o077 == 0, "the hub's folder is for its owner alone"


def test_no_network_is_called_by_its_name(machine: Machine) -> None:
    as_root(machine)
    machine.has("apt-get", "echo 'E: Temporary failure resolving the mirror'; exit 100")
    assert_one_line(machine.bootstrap(), "is there a network?", "Temporary failure resolving", "log: ")


def test_a_full_disk_is_noticed_before_packages_are_fetched(machine: Machine) -> None:
    as_root(machine)
    machine.has("apt-get", "exit 0")
    machine.has("df", "printf 'x\\n/dev/x 1 1 51200 1%% /\\n'")
    assert_one_line(machine.bootstrap(), "no room for", "50 MB free", "free some space")


def test_a_python_that_is_too_old_is_named(machine: Machine) -> None:
    as_root(machine)
    machine.has("apt-get", "exit 0")
    machine.has("python3", 'case "$1" in -V) echo "Python 3.9.2" ;; *) exit 1 ;; esac')
    assert_one_line(machine.bootstrap(), "python3 is 3.9.2", "3.11 or newer")


def test_services_are_held_during_the_installation_and_only_then(machine: Machine) -> None:
    as_root(machine)
    policy = machine.root / "policy-rc.d"
    policy.write_text("#!/bin/sh\necho asked >> \"$HUB_HOME/asked\"\nexit 104\n")
    policy.chmod(0o755)
    machine.has(
        "apt-get",
        'for service in rabbitmq-server postgresql ssh; do "$POLICY_RC_D" $service start; '
        'echo "$service $?" >> "$HUB_HOME/verdicts"; done',
    )
    machine.has("python3", "exit 1")
    machine.bootstrap("--with-postgresql")
    verdicts = (machine.root / "home" / "verdicts").read_text().splitlines()[-3:]
    assert verdicts == ["rabbitmq-server 101", "postgresql 101", "ssh 104"]
    assert (machine.root / "home" / "asked").exists(), "the machine's own policy was not asked"
    assert "exit 104" in policy.read_text(), "the machine's own policy was not put back"


def test_a_policy_that_a_killed_run_left_behind_is_cleared_away(machine: Machine) -> None:
    as_root(machine)
    policy = machine.root / "policy-rc.d"
    policy.write_text("#!/bin/sh\n# Written by deploy/local/bootstrap.sh (CRM Hub)\nexit 101\n")
    saved = machine.root / "policy-rc.d.before-crm-hub"
    saved.write_text("the machine's own\n")
    machine.has("apt-get", "exit 100")
    machine.bootstrap()
    assert policy.read_text() == "the machine's own\n"
    assert not saved.exists()


def test_a_prepared_machine_is_left_alone_in_less_than_two_seconds() -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("HUB_")}
    script = ROOT / "deploy" / "local" / "bootstrap.sh"
    if (ROOT / ".venv" / "installed.sha256").exists():
        subprocess.run([script], env=environ, capture_output=True, check=True)
        began = time.monotonic()
        second = subprocess.run([script], env=environ, capture_output=True, text=True, check=True)
        assert time.monotonic() - began < 2
        assert second.stdout == ""


def test_it_runs_as_an_ordinary_user_when_nothing_is_missing_from_the_system(machine: Machine) -> None:
    """Only .venv is left to make, and python3 says why it cannot."""
    machine.environ["HUB_RABBITMQ_BIN"] = "/usr/lib/rabbitmq/bin"
    machine.has("id", "echo 1000")
    machine.has("python3", 'case "$*" in *ensurepip*) exit 0 ;; *) echo "venv broke"; exit 1 ;; esac')
    assert_one_line(machine.bootstrap(), "python3 -m venv failed (venv broke)")


