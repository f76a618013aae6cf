#!/usr/bin/env python3
"""A private RabbitMQ node on loopback: own port, data, cookie, password and epmd, apart from any system broker.

Standard library only, so that it runs before anything is installed but the distribution's `rabbitmq-server`.

    broker.py serve      run the node in the foreground until SIGTERM (what the process file runs)
    broker.py start      the same in the background; returns when the node answers
    broker.py stop       stop the node that `start` or `serve` runs
    broker.py status     running, ready, pid, port; exit code 3 when it is not running
    broker.py uri        print the AMQP URI with the generated password

State lives in `$HUB_HOME/broker`. Ports: AMQP `$HUB_BROKER_PORT` (5683), epmd the next one, distribution the one after.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

USER = "hub"
VHOST = "hub"
DEFAULT_PORT = 5683
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0

PACKAGED_BIN = Path("/usr/lib/rabbitmq/bin")
"""Where Debian keeps the scripts that run as whoever starts them; the wrappers in sbin switch users."""


class BrokerError(Exception):
    """The node cannot be run; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is known of a node without asking Erlang."""

    running: bool
    ready: bool
    pid: int | None
    node_pid: int | None
    port: int


@dataclass(frozen=True, kw_only=True)
class Broker:
    """One private node.

    Attributes:
        directory: everything the node owns; created with mode 0700.
        port: AMQP on 127.0.0.1.
        epmd_port: Erlang's name server, started with the node and stopped with it.
        dist_port: Erlang distribution, on loopback too.
        management_port: HTTP management API on 127.0.0.1; None leaves the plug-in off.
    """

    directory: Path
    port: int = DEFAULT_PORT
    epmd_port: int = DEFAULT_PORT + 1
    dist_port: int = DEFAULT_PORT + 2
    management_port: int | None = None

    @classmethod
    def from_environ(cls, environ: dict[str, str]) -> Broker:
        """The node of this `HUB_HOME`."""
        port = int(environ.get("HUB_BROKER_PORT") or DEFAULT_PORT)
        management = environ.get("HUB_BROKER_MANAGEMENT_PORT")
        return cls(
            directory=Path(environ.get("HUB_HOME") or ".hub").absolute() / "broker",
            port=port,
            epmd_port=port + 1,
            dist_port=port + 2,
            management_port=int(management) if management else None,
        )

    # -- what others need to know ------------------------------------------------------------------------------------

    def password(self) -> str:
        """The password of user `hub`, generated once and kept beside the data that knows it."""
        return self._secret("password")

    def uri(self, vhost: str = VHOST) -> str:
        """The AMQP URI of the node; the password is hexadecimal, so nothing needs quoting."""
        return f"amqp://{USER}:{self.password()}@127.0.0.1:{self.port}/{vhost}"

    def status(self) -> Status:
        """Running: somebody holds the lock. Ready: the port speaks AMQP."""
        running = self._locked()
        pids = self._pids() if running else {}
        return Status(
            running=running,
            ready=running and answers(self.port),
            pid=pids.get("serve"),
            node_pid=pids.get("node"),
            port=self.port,
        )

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self, *, die_with_parent: bool = False, timeout_s: float = START_TIMEOUT_S) -> None:
        """Run `serve` in a session of its own and return when the node answers; no-op when it runs already.

        Raises:
            BrokerError: not installed, a port is taken, or no answer in time; the text has the end of the log.
        """
        process: subprocess.Popen[bytes] | None = None
        if not self._locked():
            self._check_ports()
            self._prepare()
            command = [sys.executable, str(Path(__file__).resolve()), "serve", *self._arguments()]
            if die_with_parent:
                command.append("--die-with-parent")
            with self._console().open("ab") as log:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        self.wait_ready(process, timeout_s)

    def wait_ready(self, process: subprocess.Popen[bytes] | None = None, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the node speaks AMQP.

        Raises:
            BrokerError: `process` ended, or `timeout_s` passed.
        """
        deadline = time.monotonic() + timeout_s
        while not answers(self.port):
            if process is not None and process.poll() is not None:
                raise BrokerError(f"the broker ended at once: {self._last_words()}")
            if time.monotonic() > deadline:
                raise BrokerError(f"the broker gave no answer on port {self.port} in {timeout_s:.0f} s")
            time.sleep(0.1)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Stop the running node and wait for its end; False when none ran."""
        if not self._locked():
            return False
        pids = self._pids()
        _signal(pids.get("serve"), signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while self._locked():
            if time.monotonic() > deadline:
                _signal(pids.get("serve"), signal.SIGKILL)  # takes the node and epmd with it
                time.sleep(0.5)
                break
            time.sleep(0.05)
        return True

    def kill(self) -> None:
        """Kill the node as a power cut would: SIGKILL to the Erlang machine, nothing flushed."""
        pids = self._pids()
        _signal(pids.get("node"), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while self._locked() and time.monotonic() < deadline:
            time.sleep(0.02)

    def serve(self) -> int:
        """Run epmd and the node in the foreground; return the node's exit code.

        Raises:
            BrokerError: not installed, already running, or a port is taken.
        """
        server, epmd_program = rabbitmq_server(), _epmd()
        self._prepare()
        with self._lock():
            self._check_ports()
            environ = self._environ()
            epmd = subprocess.Popen(
                [epmd_program, "-port", str(self.epmd_port), "-address", "127.0.0.1"],
                env=environ,
                stdin=subprocess.DEVNULL,
                preexec_fn=_die_with_parent,
            )
            node = subprocess.Popen(
                [str(server)], env=environ, stdin=subprocess.DEVNULL, cwd=self.directory, preexec_fn=_die_with_parent
            )
            self._pid_file().write_text(json.dumps({"serve": os.getpid(), "node": node.pid, "epmd": epmd.pid}))

            def pass_on(_signum: int, _frame: FrameType | None) -> None:
                node.terminate()

            signal.signal(signal.SIGTERM, pass_on)
            signal.signal(signal.SIGINT, pass_on)
            try:
                return node.wait()
            finally:
                epmd.kill()
                epmd.wait()
                self._pid_file().unlink(missing_ok=True)

    # -- files --------------------------------------------------------------------------------------------------------

    def _arguments(self) -> list[str]:
        arguments = ["--directory", str(self.directory), "--port", str(self.port)]
        arguments += ["--epmd-port", str(self.epmd_port), "--dist-port", str(self.dist_port)]
        if self.management_port is not None:
            arguments += ["--management-port", str(self.management_port)]
        return arguments

    def _pid_file(self) -> Path:
        return self.directory / "pids.json"

    def _console(self) -> Path:
        return self.directory / "log" / "console.log"

    def _pids(self) -> dict[str, int]:
        try:
            pids: dict[str, int] = json.loads(self._pid_file().read_text())
        except (OSError, ValueError):
            return {}
        return pids

    def _secret(self, name: str) -> str:
        path = self.directory / name
        if not path.exists() or not path.read_text():
            write_once(path, secrets.token_hex(24), mode=0o600)
        return path.read_text()

    def _prepare(self) -> None:
        """Write the node's configuration; idempotent, so a half-finished first start is simply finished."""
        rabbitmq_server()
        for folder in (self.directory, self.directory / "log", self.directory / "home", self.directory / "conf.d"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        cookie = self.directory / "home" / ".erlang.cookie"
        if not cookie.exists() or not cookie.read_text():
            write_once(cookie, self._secret("cookie"), mode=0o400)
        plugins = "[rabbitmq_management]." if self.management_port is not None else "[]."
        (self.directory / "enabled_plugins").write_text(plugins + "\n")
        (self.directory / "rabbitmq-env.conf").touch()
        configuration = self.directory / "rabbitmq.conf"
        configuration.touch(mode=0o600)
        configuration.write_text("\n".join(self._configuration()) + "\n")

    def _configuration(self) -> list[str]:
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            # An empty node makes this user instead of guest: no default password exists at any moment.
            f"default_user = {USER}",
            f"default_pass = {self.password()}",
            f"default_vhost = {VHOST}",
            "default_user_tags.administrator = true",
            "log.console = false",
            "log.file = node.log",
            "log.file.level = warning",
            "log.file.rotation.size = 10485760",
            "log.file.rotation.count = 3",
            "disk_free_limit.absolute = 200MB",
            # Quorum queues hold their log's tail in memory until the log rolls: 64 MiB suits one small machine.
            "raft.wal_max_size_bytes = 67108864",
        ]
        if self.management_port is not None:
            lines += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {self.management_port}"]
            lines += ["collect_statistics_interval = 1000"]
        return lines

    def _environ(self) -> dict[str, str]:
        """The node's environment: the caller's, without anything that would lead it to another node's files."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_", "NOTIFY_SOCKET"))}
        here = self.directory
        # Schedulers at rest sleep instead of spinning; distribution listens on loopback; epmd is ours, never forked.
        erl = "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
        return inherited | {
            "HOME": str(here / "home"),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # An address for a name: a machine without a line for localhost in /etc/hosts is served too.
            "RABBITMQ_NODENAME": "hub@127.0.0.1",
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(here / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(here / "node.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erl,
            # Makes the start script replace itself by the Erlang machine: one process, and signals reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _last_words(self) -> str:
        try:
            lines = [line.strip() for line in self._console().read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            lines = []
        reasons = [line for line in lines if line.startswith(("ERROR", "broker:"))] or lines
        return f"{reasons[-1] if reasons else 'without a word'} (log: {self.directory / 'log'})"

    # -- one at a time ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.directory / "lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BrokerError(f"a broker already runs from {self.directory}: stop it first") from None
            yield

    def _locked(self) -> bool:
        try:
            handle = (self.directory / "lock").open("r")
        except FileNotFoundError:
            return False
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def _check_ports(self) -> None:
        for name, port in self.ports().items():
            if taken(port):
                raise BrokerError(
                    f"port {port} ({name}) is taken by another program: stop it, or set HUB_BROKER_PORT to a free port"
                )

    def ports(self) -> dict[str, int]:
        """Every port that the node listens on, by its use."""
        ports = {"AMQP": self.port, "epmd": self.epmd_port, "Erlang distribution": self.dist_port}
        return ports | ({"management": self.management_port} if self.management_port is not None else {})


def write_once(path: Path, text: str, *, mode: int) -> None:
    """Write a secret so that it appears whole or not at all. Two first starts side by side agree on the first one's.

    A file without a word is what a start that was cut off has left; it is replaced.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and not path.read_text():
        path.unlink()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)  # unlike a rename, fails when the name is taken
    finally:
        draft.unlink(missing_ok=True)


def rabbitmq_server() -> Path:
    """The server's start script that runs as its caller.

    Raises:
        BrokerError: RabbitMQ is not installed.
    """
    for candidate in (Path(os.environ.get("HUB_RABBITMQ_BIN") or PACKAGED_BIN) / "rabbitmq-server",):
        if os.access(candidate, os.X_OK):
            return candidate
    raise BrokerError("RabbitMQ is not installed: run deploy/local/bootstrap.sh, or apt-get install rabbitmq-server")


def _epmd() -> str:
    program = shutil.which("epmd", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")
    if program is None:
        raise BrokerError("epmd is not on the PATH: install Erlang, apt-get install erlang-base")
    return program


def answers(port: int, timeout_s: float = 2.0) -> bool:
    """Whether a broker on this loopback port opens an AMQP 0-9-1 connection (it sends Connection.Start)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            frame = connection.recv(11)
    except OSError:
        return False
    return frame[:1] == b"\x01" and frame[7:11] == b"\x00\x0a\x00\x0a"


def taken(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _signal(pid: int | None, signum: signal.Signals) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies: a killed supervisor leaves no orphan on the ports."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A private RabbitMQ node on loopback.")
    parser.add_argument("verb", choices=["serve", "start", "stop", "status", "uri"])
    parser.add_argument("--directory", type=Path, help="state folder [$HUB_HOME/broker]")
    parser.add_argument("--port", type=int, help=f"AMQP port [$HUB_BROKER_PORT or {DEFAULT_PORT}]")
    parser.add_argument("--epmd-port", type=int, help="Erlang name server [port + 1]")
    parser.add_argument("--dist-port", type=int, help="Erlang distribution [port + 2]")
    parser.add_argument("--management-port", type=int, help="turns the management plug-in on")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the starting process ends")
    parser.add_argument("--json", action="store_true", help="status as JSON")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> Broker:
    default = Broker.from_environ(dict(os.environ))
    port = arguments.port or default.port
    return Broker(
        directory=(arguments.directory or default.directory).absolute(),
        port=port,
        epmd_port=arguments.epmd_port or port + 1,
        dist_port=arguments.dist_port or port + 2,
        management_port=arguments.management_port or default.management_port,
    )


def main() -> int:
    """Run one verb; the exit code is the shell's answer."""
    arguments = _arguments()
    broker = _chosen(arguments)
    try:
        match arguments.verb:
            case "serve":
                if arguments.die_with_parent:
                    _die_with_parent()
                return broker.serve()
            case "start":
                broker.start()
                print(f"broker ready on 127.0.0.1:{broker.port}")
            case "stop":
                print("broker stopped" if broker.stop() else "no broker was running")
            case "status":
                status = broker.status()
                print(json.dumps(asdict(status)) if arguments.json else _in_words(status))
                return 0 if status.running else 3
            case "uri":
                print(broker.uri())
    except (BrokerError, OSError) as error:
        print(f"broker: {error}", file=sys.stderr)
        return 1
    return 0


def _in_words(status: Status) -> str:
    if not status.running:
        return "broker: not running"
    return f"broker: {'ready' if status.ready else 'starting'} on 127.0.0.1:{status.port}, pid {status.pid}"


if __name__ == "__main__":
    sys.exit(main())
