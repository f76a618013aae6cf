"""One private PostgreSQL cluster per test run, a fresh database per test, fsync on: as durable as production."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

from tests.support.processes import free_port

PACKAGED = Path("/usr/lib/postgresql")
"""Debian keeps the server's programs here, one folder per major version, off the PATH."""


class Postgres:
    """A private cluster on a loopback port, and the means to hurt it. It trusts whoever reaches it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._bin = _programs()
        self._user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def superuser(self) -> str:
        return self._user or pwd.getpwuid(os.geteuid()).pw_name

    def uri(self, database: str) -> str:
        """The SQLAlchemy URI of one database."""
        return f"postgresql+psycopg2://{self.superuser}@127.0.0.1:{self.port}/{database}"

    def initialise(self) -> None:
        """Make the cluster's files."""
        if self._user is not None:
            shutil.chown(self.directory, self._user, self._user)
        command = [str(self._bin / "initdb"), "-D", str(self.directory / "data"), "--auth=trust", "--encoding=UTF8"]
        command += ["--locale=C.UTF-8", "--no-sync", "--no-instructions", "-U", self.superuser]
        made = subprocess.run(
            command, user=self._user, group=self._user, cwd=self.directory, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr

    def start(self) -> None:
        """Start the server; no-op when it runs. Returns when it answers."""
        if self._server is not None and self._server.poll() is None:
            return
        (self.directory / "data" / "postmaster.pid").unlink(missing_ok=True)
        command = [str(self._bin / "postgres"), "-D", str(self.directory / "data"), "-p", str(self.port)]
        for setting in ("listen_addresses=127.0.0.1", f"unix_socket_directories={self.directory}", "fsync=on"):
            command += ["-c", setting]
        command += ["-c", "synchronous_commit=on", "-c", "shared_buffers=32MB", "-c", "max_connections=60"]
        with (self.directory / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                command,
                user=self._user,
                group=self._user,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_quit_with_parent,
            )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self, timeout_s: float = 90.0) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg2.OperationalError:
                if time.monotonic() > deadline or (self._server is not None and self._server.poll() is not None):
                    raise
                time.sleep(0.05)

    def stop(self, signum: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT in order, SIGQUIT at once with recovery at the next start."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signum)
            self._server.wait(30)

    def kill(self) -> None:
        """Kill -9 the server and, by the kernel's hand, all of its sessions."""
        if self._server is None:
            return
        # The postmaster's children notice its death; killing them too leaves no half-alive session behind.
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        for pid in (self._server.pid, *map(int, children)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._server.wait(30)

    def log(self) -> str:
        """What the server has said, by its own settings: a statement that failed is told with all its values."""
        return (self.directory / "server.log").read_text(errors="replace")

    def execute(self, statement: str | sql.Composed, parameters: Sequence[object] = ()) -> None:
        """Run one statement in the maintenance database, outside any transaction."""
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=self.superuser, dbname="postgres", connect_timeout=30
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
        finally:
            connection.close()

    def create_database(self, template: str = "template1") -> str:
        """A new database, a copy of `template`; its name."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and throw out whoever is still in it."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def terminate_connections(self, database: str) -> None:
        """Cut every session of one database, as an administrator would."""
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))


def _programs() -> Path:
    versions = sorted(PACKAGED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    assert found, "PostgreSQL is not installed: run deploy/local/bootstrap.sh, or apt-get install postgresql"
    return Path(found).parent


def _quit_with_parent() -> None:
    """Linux sends SIGQUIT when the test run dies: a killed run leaves no cluster behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)


@contextlib.contextmanager
def private_cluster() -> Iterator[Postgres]:
    """A running cluster that nobody else uses; gone at the end."""
    # Not under pytest's folder: that one is closed to the operating system's user postgres.
    directory = Path(tempfile.mkdtemp(prefix="hub-postgres-"))
    cluster = Postgres(directory)
    try:
        cluster.initialise()
        cluster.start()
        yield cluster
    finally:
        cluster.stop(signal.SIGQUIT)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The test run's own PostgreSQL cluster, started at first use."""
    with private_cluster() as cluster:
        yield cluster


@pytest.fixture
def postgres_uri(postgres: Postgres) -> Iterator[str]:
    """SQLAlchemy URI of a fresh, empty database; dropped with the test. A stopped cluster is started first."""
    postgres.start()
    name = postgres.create_database()
    yield postgres.uri(name)
    postgres.start()
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def db_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database on each engine we serve: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite'}"
    uri: str = request.getfixturevalue("postgres_uri")
    return uri
