"""Parked messages: what waits in the `<queue>.dead` queues for a person, and how it goes back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import amqp
from amqp.exceptions import NotFound
from kombu import Connection

from chassis import broker, parking
from chassis.failpoints import failpoint
from hub.installation import Installation
from hub.trouble import Trouble

SUFFIX = ".dead"
LOOKS = 10
"""RabbitMQ 4 drops a message that was given back twenty times; one that was looked at this often is written anew."""


@dataclass(frozen=True, kw_only=True)
class Parked:
    """One parking queue.

    Attributes:
        queue: the queue that the messages came from.
        parked: how many wait.
        oldest_id, oldest_type, oldest_at, reason: of the one that waits longest; None when there is none.
    """

    queue: str
    parked: int
    oldest_id: str | None = None
    oldest_type: str | None = None
    oldest_at: str | None = None
    reason: str | None = None


def look(hub: Installation, queues: Iterable[str], *, inside: bool = True) -> list[Parked]:
    """Return every parking queue that stands, the fullest first.

    Args:
        hub: whose broker is asked.
        queues: names without `.dead`.
        inside: whether to look at the oldest message too.

    Raises:
        Trouble: the broker does not answer.
    """
    found = []
    with _channel(hub) as channel:
        for queue in queues:
            depth = _depth(channel, queue + SUFFIX)
            if depth is not None:
                oldest = _oldest(channel, queue + SUFFIX) if depth and inside else {}
                found.append(Parked(queue=queue, parked=depth, **oldest))
    return sorted(found, key=lambda each: (-each.parked, each.queue))


def give_back(hub: Installation, queue: str) -> int:
    """Move what is parked of `queue` back to it; return how many.

    Each is published with a confirm before it leaves the parking queue: cut off in between, it is in both, and the room
    drops the repeat.

    Raises:
        Trouble: there is no such queue, it takes no more, its messages are requests, or the broker is away.
    """
    queue = queue.removesuffix(SUFFIX)
    if queue.startswith("rpc."):
        raise Trouble("requests do not go back", "nothing: whoever sent them has had an error, and they go after a day")
    with _channel(hub) as channel:
        waiting = _depth(channel, queue + SUFFIX)
        if waiting is None:
            raise Trouble(f"there is no queue {queue}{SUFFIX}", "choose one that hub parked list shows")
        if _depth(channel, queue) is None:
            raise Trouble(f"there is no queue {queue}", "start its room once, which makes it")
        moved = 0
        while moved < waiting and (message := channel.basic_get(queue + SUFFIX)) is not None:
            headers = {k: v for k, v in (message.headers or {}).items() if k not in parking.OURS}
            _publish_copy(channel, message, queue, headers)
            failpoint("parked.before_ack")
            channel.basic_ack(message.delivery_tag)
            moved += 1
    return moved


@contextmanager
def _channel(hub: Installation) -> Iterator[Any]:
    limits = {"read_timeout": 10, "write_timeout": 10}
    try:
        with Connection(hub.amqp_uri, connect_timeout=3, transport_options=limits) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            yield connection.connection.channel()
    except broker.CONNECTION_ERRORS as error:
        raise Trouble(f"the broker refuses or does not answer ({type(error).__name__})", "run hub doctor") from error


def _depth(channel: Any, queue: str) -> int | None:
    probe = channel.connection.channel()
    try:
        stands = probe.queue_declare(queue, passive=True)
    except NotFound:  # which closes the channel
        return None
    probe.close()
    return int(stands.message_count)


def _oldest(channel: Any, queue: str) -> dict[str, str | None]:
    message = channel.basic_get(queue)
    if message is None:  # somebody was faster
        return {}
    headers = message.headers or {}
    if int(headers.get("x-delivery-count", 0)) >= LOOKS:
        _publish_copy(channel, message, queue, headers)
        channel.basic_ack(message.delivery_tag)
    else:
        channel.basic_reject(message.delivery_tag, requeue=True)
    death: dict[str, Any] = next(iter(headers.get("x-death") or ()), {})
    at = headers.get(parking.PARKED_AT) or (death["time"].isoformat() if "time" in death else None)
    reason = headers.get(parking.PARKED_BECAUSE) or _in_words(death.get("reason"))
    return {"oldest_id": message.properties.get("message_id"), "oldest_type": _type_in(message), "oldest_at": at,
            "reason": reason}


def _in_words(death: str | None) -> str:
    if death == "delivery_limit":
        return f"given out {broker.CRASH_LIMIT} times and never settled: its handler seems to end the process"
    return f"moved here by the broker ({death or 'no reason given'})"


def _type_in(message: Any) -> str | None:
    try:
        envelope = json.loads(message.body)
    except ValueError:
        return None
    return str(envelope["type"]) if isinstance(envelope, dict) and "type" in envelope else None


def _publish_copy(channel: Any, message: Any, queue: str, headers: dict[str, Any]) -> None:
    body, properties = parking.copy_of(message, headers)
    same = {name: message.properties[name] for name in ("content_type", "content_encoding")
            if name in message.properties}
    # Mandatory: a queue that was deleted meanwhile raises, and the message stays where it is.
    channel.basic_publish_confirm(
        amqp.Message(body, **properties, **same), exchange="", routing_key=queue, mandatory=True
    )
