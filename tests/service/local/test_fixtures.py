"""The fixtures that every other test leans on keep their own promises."""

from __future__ import annotations

import sys
import time

import pytest
import sqlalchemy.exc
from amqp.exceptions import ConnectionForced
from kombu import Connection, Queue
from kombu.exceptions import OperationalError
from sqlalchemy import create_engine, inspect, text

from tests.support.broker import QUEUE_SETTLES_S, Management, Vhost
from tests.support.postgres import Postgres
from tests.support.processes import Processes, eventually


def publish(uri: str, queue: str, body: str) -> None:
    """Declare a durable quorum queue and put one confirmed message into it."""
    declared = Queue(queue, durable=True, queue_arguments={"x-queue-type": "quorum"})
    with Connection(uri, connect_timeout=30, transport_options={"confirm_publish": True}) as connection:
        declared.bind(connection.default_channel).declare()
        connection.Producer().publish(body, routing_key=queue, delivery_mode=2)


def test_each_test_has_a_virtual_host_of_its_own(vhost: Vhost, broker: Management) -> None:
    assert broker.list_queues(vhost.name) == {}
    publish(vhost.amqp_uri, "letters", "one")
    assert broker.depth(vhost.name, "letters") == 1
    assert set(broker.list_queues(vhost.name)) == {"letters"}
    assert [message["payload"] for message in broker.messages(vhost.name, "letters")] == ["one"]
    broker.purge(vhost.name, "letters")
    assert broker.depth(vhost.name, "letters") == 0
    broker.delete_queue(vhost.name, "letters")
    assert broker.list_queues(vhost.name) == {}


def test_the_node_comes_back_from_a_kill_with_what_it_confirmed(vhost: Vhost, broker: Management) -> None:
    publish(vhost.amqp_uri, "letters", "first")
    # RabbitMQ 3.10 writes a new quorum queue's name to disk up to 3 s late; a queue killed younger comes back empty.
    time.sleep(QUEUE_SETTLES_S)
    publish(vhost.amqp_uri, "letters", "second")
    broker.kill()
    assert not broker.node.status().running
    with pytest.raises(OperationalError):
        Connection(vhost.amqp_uri, connect_timeout=2).ensure_connection(max_retries=1, timeout=1)
    broker.start()
    eventually(lambda: broker.depth(vhost.name, "letters") == 2)


def test_connections_are_closed_from_the_brokers_side(vhost: Vhost, broker: Management) -> None:
    with Connection(vhost.amqp_uri, connect_timeout=30) as connection:
        connection.connect()
        eventually(lambda: broker.close_connections(vhost.name) == 1)
        with pytest.raises(ConnectionForced):
            connection.drain_events(timeout=5)


def test_a_database_is_fresh_on_both_engines(db_uri: str) -> None:
    engine = create_engine(db_uri)
    assert inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE only_here (id INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO only_here VALUES (1)"))
    engine.dispose()


def test_the_cluster_is_durable_and_comes_back_from_a_kill(postgres: Postgres, postgres_uri: str) -> None:
    engine = create_engine(postgres_uri)
    with engine.begin() as connection:
        assert connection.execute(text("SHOW fsync")).scalar_one() == "on"
        connection.execute(text("CREATE TABLE kept AS SELECT 1 AS id"))
    postgres.kill()
    with pytest.raises(sqlalchemy.exc.OperationalError), engine.begin() as connection:
        connection.execute(text("SELECT 1"))
    postgres.start()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT id FROM kept")).scalar_one() == 1
    engine.dispose()


def test_a_process_is_paused_resumed_and_ended_by_its_pid(processes: Processes) -> None:
    counting = "import time, itertools\nfor n in itertools.count(): print(n); time.sleep(0.02)"
    process = processes.start("counter", [sys.executable, "-c", counting])
    eventually(lambda: "3" in process.log())
    process.pause()
    seen = process.log()
    eventually(lambda: process.log() == seen, every_s=0.2)
    process.resume()
    eventually(lambda: process.log() != seen)
    assert process.terminate() == -15
