"""Publishing from many greenlets over one connection."""

from __future__ import annotations

from uuid import uuid4

import eventlet
from eventlet.greenthread import getcurrent
from kombu import Connection

from chassis.publishing import Publisher
from tests.service.chassis.laboratory import Lab


def test_of_many_who_publish_at_once_each_gets_its_confirm_and_none_reads_the_connection(lab: Lab) -> None:
    readers: set[object] = set()
    publisher = Publisher(lab.vhost.amqp_uri, confirm=True)
    with Connection(lab.vhost.amqp_uri, connect_timeout=30) as connection:
        queue = connection.default_channel.queue_declare(exclusive=True).queue

        def publish(count: int) -> None:
            for _ in range(count):
                publisher.publish(b"{}", exchange="", routing_key=queue, within_s=20, mandatory=True,
                                  message_id=uuid4().hex)

        publish(1)
        assert publisher._link is not None
        link = publisher._link._amqp
        drain = link.drain_events

        def noting(timeout: float | None = None) -> object:
            readers.add(getcurrent())
            return drain(timeout)

        link.drain_events = noting
        publishing = [eventlet.spawn(publish, 100) for _ in range(12)]
        for each in publishing:
            each.wait()
        assert connection.default_channel.queue_declare(queue, passive=True).message_count == 1201
    publisher.close()
    assert len(readers) == 1
    assert not readers.intersection(publishing)
