"""One private RabbitMQ node per test run, a fresh virtual host per test, and the means to hurt it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import requests

from deploy.local.broker import USER, Broker, BrokerError, rabbitmq_server
from tests.support.processes import free_port

ALARMS = {"memory": ("set_vm_memory_high_watermark", "0.0000001", "0.8"),
          "disk": ("set_disk_free_limit", "900000GB", "200MB")}
"""What is full → rabbitmqctl's verb, the limit that raises the alarm, and the usual one."""
QUEUE_SETTLES_S = 4.0
"""A quorum queue younger than this may come back empty from `kill()`: RabbitMQ 3.10 saves its name up to 3 s late."""


@dataclass(frozen=True)
class Vhost:
    """A virtual host of the node; gone, with all its queues, when the test ends."""

    name: str
    amqp_uri: str


class Management:
    """The node seen by its operator: virtual hosts, queues, connections, and its plug."""

    def __init__(self, node: Broker) -> None:
        self.node = node
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.auth = (USER, node.password())
        self._url = f"http://127.0.0.1:{node.management_port}/api"

    def _call(self, method: str, path: str, json: object = None) -> Any:
        answer = self._http.request(method, f"{self._url}/{path}", json=json, timeout=20)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    # -- virtual hosts ------------------------------------------------------------------------------------------------

    def create_vhost(self, name: str | None = None) -> Vhost:
        """A virtual host where user `hub` may do everything."""
        name = name or f"t-{uuid.uuid4().hex[:12]}"
        self._call("PUT", f"vhosts/{quote(name, safe='')}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._call("PUT", f"permissions/{quote(name, safe='')}/{USER}", everything)
        return Vhost(name, self.node.uri(name))

    def delete_vhost(self, name: str) -> None:
        self._call("DELETE", f"vhosts/{quote(name, safe='')}")

    # -- queues -------------------------------------------------------------------------------------------------------

    def list_queues(self, vhost: str) -> dict[str, dict[str, Any]]:
        """Every queue by name: type, arguments, state; `messages` lags by a second (see `depth`)."""
        return {queue["name"]: queue for queue in self._call("GET", f"queues/{quote(vhost, safe='')}")}

    def list_bindings(self, vhost: str) -> list[dict[str, Any]]:
        """Every binding: source, destination, routing_key."""
        bindings: list[dict[str, Any]] = self._call("GET", f"bindings/{quote(vhost, safe='')}")
        return bindings

    def delete_queue(self, vhost: str, name: str) -> None:
        self._call("DELETE", f"queues/{quote(vhost, safe='')}/{quote(name, safe='')}")

    def purge(self, vhost: str, name: str) -> None:
        """Throw away what waits in a queue; unacknowledged messages stay with their consumers."""
        self._call("DELETE", f"queues/{quote(vhost, safe='')}/{quote(name, safe='')}/contents")

    def unbind(self, vhost: str, exchange: str, queue: str) -> None:
        """Remove every binding from `exchange` to `queue`."""
        path = f"bindings/{quote(vhost, safe='')}/e/{quote(exchange, safe='')}/q/{quote(queue, safe='')}"
        for binding in self._call("GET", path):
            self._call("DELETE", f"{path}/{binding['properties_key']}")

    def depth(self, vhost: str, name: str) -> int:
        """Messages ready in a queue now; 0 when it does not exist. Asked of the queue itself, so without lag."""
        from kombu import Connection
        from kombu.exceptions import ChannelError

        with Connection(self.node.uri(vhost), connect_timeout=30) as connection:
            try:
                return int(connection.default_channel.queue_declare(name, passive=True).message_count)
            except ChannelError:
                return 0

    def messages(self, vhost: str, name: str, limit: int = 100) -> list[dict[str, Any]]:
        """Look at waiting messages and put them back: payload (text), properties, routing_key, redelivered."""
        ask = {"count": limit, "ackmode": "ack_requeue_true", "encoding": "auto"}
        path = f"queues/{quote(vhost, safe='')}/{quote(name, safe='')}/get"
        waiting: list[dict[str, Any]] = self._call("POST", path, ask)
        return waiting

    def publish(self, vhost: str, exchange: str, routing_key: str, payload: str, **properties: Any) -> bool:
        """Publish text as an outsider would; returns whether any queue took it. `exchange=""` is the default one."""
        path = f"exchanges/{quote(vhost, safe='')}/{quote(exchange or 'amq.default', safe='')}/publish"
        body = {
            "properties": properties,
            "routing_key": routing_key,
            "payload": payload,
            "payload_encoding": "string",
        }
        return bool(self._call("POST", path, body)["routed"])

    # -- connections --------------------------------------------------------------------------------------------------

    def list_connections(self, vhost: str) -> list[dict[str, Any]]:
        connections: list[dict[str, Any]] = self._call("GET", f"vhosts/{quote(vhost, safe='')}/connections")
        return connections

    def close_connections(self, vhost: str, reason: str = "closed by a test") -> int:
        """Close every connection of a virtual host from the broker's side; return how many there were."""
        connections = self.list_connections(vhost)
        for connection in connections:
            self._http.delete(
                f"{self._url}/connections/{quote(connection['name'], safe='')}",
                headers={"X-Reason": reason},
                timeout=20,
            )
        return len(connections)

    # -- the plug -----------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """Kill -9 the node. `start()` brings it back with what it had made durable."""
        self.node.kill()

    def pause(self) -> None:
        """SIGSTOP the node: connections stand, nothing is answered. `resume()` lets it go on."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT the node."""
        self._signal(signal.SIGCONT)

    def _signal(self, signum: signal.Signals) -> None:
        pid = self.node.status().node_pid
        assert pid is not None
        os.kill(pid, signum)

    @contextmanager
    def alarm(self, full: str) -> Iterator[None]:
        """Let the node believe that its "memory" or its "disk" is full: whoever publishes is no longer read."""
        verb, raised, usual = ALARMS[full]
        self._control(verb, raised)
        try:
            yield
        finally:
            self._control(verb, usual)

    def _control(self, *arguments: str) -> None:
        ctl = rabbitmq_server().with_name("rabbitmqctl")
        environ = {**self.node._environ(), "LANG": "C.UTF-8"}
        subprocess.run([ctl, *arguments], env=environ, check=True, capture_output=True, timeout=60)

    def stop(self) -> None:
        """Shut the node down in order."""
        self.node.stop()

    def start(self) -> None:
        """Start the node again on the same ports and data; no-op when it runs."""
        self.node.start(die_with_parent=True)
        self._wait_for_management()

    def wipe(self) -> None:
        """Stop the node, throw away all it knew, start it empty: virtual hosts, users' rights and queues are gone."""
        self.node.stop()
        shutil.rmtree(self.node.directory / "data")
        self.start()

    def _wait_for_management(self, timeout_s: float = 90.0) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._call("GET", "overview")
                return
            except requests.RequestException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _start_node(tmp_path_factory: pytest.TempPathFactory) -> Management:
    for attempt in range(3):
        node = Broker(
            directory=tmp_path_factory.mktemp("broker"),
            port=free_port(),
            epmd_port=free_port(),
            dist_port=free_port(),
            management_port=free_port(),
        )
        management = Management(node)
        try:
            management.start()
            return management
        except BrokerError:  # another test run took one of the ports in between
            node.stop()
            if attempt == 2:
                raise
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Management]:
    """The test run's own RabbitMQ node, started at first use, ended with the run even if that is killed."""
    management = _start_node(tmp_path_factory)
    try:
        yield management
    finally:
        management.node.stop()
        shutil.rmtree(management.node.directory, ignore_errors=True)


@pytest.fixture
def vhost(broker: Management) -> Iterator[Vhost]:
    """A fresh virtual host: `.name`, `.amqp_uri`. A node that an earlier test stopped is started first."""
    broker.start()
    fresh = broker.create_vhost()
    yield fresh
    broker.start()
    if fresh.name in {known["name"] for known in broker._call("GET", "vhosts")}:
        broker.delete_vhost(fresh.name)


@pytest.fixture
def amqp_uri(vhost: Vhost) -> str:
    """AMQP URI of this test's own virtual host."""
    return vhost.amqp_uri
