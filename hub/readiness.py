"""Whether a program does its work, asked from outside."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException

from deploy.local import broker
from hub import machine
from hub.installation import Installation, Program


def missing(hub: Installation, program: Program, timeout_s: float = 3.0) -> str | None:
    """Return what a program still lacks to serve, None when it is ready."""
    if program.name == "broker":
        return None if broker.answers(hub.broker.port) else "it does not speak AMQP yet"
    if program.room is None:
        return _sandbox_lacks(hub, program)
    host, _, port_text = hub.health_address(program.room).rpartition(":")
    connection = HTTPConnection(host, int(port_text), timeout=timeout_s)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(100_000)
    except (OSError, HTTPException):
        return "its health page does not answer yet"
    finally:
        connection.close()
    return None if answer.status == 200 else _in_words(body)


def _sandbox_lacks(hub: Installation, program: Program) -> str | None:
    port = next(iter(hub.ports(program)), None)
    if port is None:
        return None
    if not machine.port_answers(port):
        return f"port {port} does not answer yet"
    if not machine.held_with(port, "HUB_SUPERVISED", str(hub.home)):
        return f"port {port} is held by {machine.holder(port)}, which is not of this hub"
    return None


def _in_words(body: bytes) -> str:
    try:
        parts = json.loads(body)["missing"]
        return "; ".join(f"{name}: {reason}" for name, reason in parts.items())
    except (ValueError, KeyError, AttributeError, TypeError):
        return "not ready"
