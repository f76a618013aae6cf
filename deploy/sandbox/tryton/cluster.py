"""A private PostgreSQL cluster for the sandbox ERP: loopback, password required, owned by an ordinary OS user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OS_USER = "postgres"
ROLE = "erp"


class ClusterError(Exception):
    """PostgreSQL is not to be had here; the text says what a person can do."""


@dataclass(frozen=True)
class Cluster:
    """One data directory, one port. The role `erp` owns everything; its password is the sandbox's own."""

    data: Path
    port: int
    password: str

    @property
    def uri(self) -> str:
        return f"postgresql://{ROLE}:{self.password}@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Make the cluster if it is not there and start it; returns when it takes connections."""
        if not (self.data / "made").exists():
            shutil.rmtree(self.data, ignore_errors=True)  # what a cut-off initdb left
            self._initdb()
        if self._run("pg_ctl", "-D", self.data, "status", check=False) == 0:
            return
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self.data / "server.log", "-o", options, "start")

    def stop(self) -> None:
        """Stop the cluster if it runs."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop", check=False)

    def create_database(self, name: str) -> None:
        """Create a UTF-8 database unless it exists."""
        if not self._ask(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):  # noqa: S608 - a constant of ours
            self._ask(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")

    def drop_database(self, name: str) -> None:
        """Remove a database that a cut-off run left half made."""
        self._ask(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _initdb(self) -> None:
        self.data.mkdir(mode=0o700, parents=True)
        password_file = self.data.with_name("pg.password")
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if os.geteuid() == 0:
            account = _account()
            for owned in (self.data, password_file):
                os.chown(owned, account.pw_uid, account.pw_gid)
            _refuse_unreachable(self.data, account)
        try:
            self._run("initdb", "-D", self.data, "-U", ROLE, "-A", "scram-sha-256", f"--pwfile={password_file}",
                      "-E", "UTF8", "--locale=C.UTF-8")  # fmt: skip
        finally:
            password_file.unlink()
        (self.data / "made").touch()

    def _ask(self, sql: str) -> str:
        environment = os.environ | {"PGPASSWORD": self.password}
        where = ["--host=127.0.0.1", f"--port={self.port}", f"--username={ROLE}", "--dbname=postgres"]
        command = [_program("psql"), *where, "-qAtX", "-c", sql]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"PostgreSQL refused a statement: {done.stderr.strip()}")
        return done.stdout.strip()

    def _run(self, program: str, *arguments: str | Path, check: bool = True) -> int:
        """Run one of PostgreSQL's programs, as OS user `postgres` when we are root (it refuses root)."""
        log = self.data.with_name("postgresql.log")
        as_user: dict[str, object] = {}
        if os.geteuid() == 0:
            as_user = {"user": OS_USER, "group": _account().pw_gid, "extra_groups": []}
        command = [_program(program), *map(str, arguments)]
        with log.open("ab") as sink:  # a pipe would be held open by the server that pg_ctl leaves behind
            done = subprocess.run(  # type: ignore[call-overload]
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False, **as_user
            )
        if check and done.returncode:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            raise ClusterError(f"{program} failed (port {self.port} busy?); the end of {log}:\n{tail}")
        return int(done.returncode)


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(OS_USER)
    except KeyError:
        raise ClusterError("PostgreSQL refuses to run as root and there is no OS user `postgres`; use SQLite") from None


def _refuse_unreachable(folder: Path, account: pwd.struct_passwd) -> None:
    probe = subprocess.run(["/usr/bin/test", "-w", str(folder)], user=account.pw_uid, group=account.pw_gid,
                           extra_groups=[], cwd="/", check=False)  # fmt: skip
    if probe.returncode:
        raise ClusterError(f"OS user `postgres` cannot reach {folder}; put HUB_HOME where it can, or use SQLite")


def _program(name: str) -> str:
    """The newest installed PostgreSQL's program, or the one on PATH (Debian keeps initdb off the PATH)."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[-3]), reverse=True)
    found = str(versions[0]) if versions else shutil.which(name)
    if found is None:
        raise ClusterError(f"PostgreSQL's {name} is not installed; install it or use SQLite")
    return found
