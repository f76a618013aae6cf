"""An event type: one kind of fact that a service announces, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.schema import Record


@dataclass(frozen=True)
class EventType:
    """One kind of event.

    Attributes:
        service: who announces it; it travels on the topic exchange `<service>.events`.
        name: entity and past-tense verb (`order.confirmed`); also the routing key, so that anyone may bind a queue.
        entity: the kind of record that `subject` identifies.
        data: schema of the payload: the full state that listeners need.
        schemaversion: raised when optional fields are added; a breaking change is a new `name`.
        expects_listener: whether a room of the hub must be listening. Such an event is published `mandatory` and stays
            in the outbox until a queue takes it.
    """

    service: str
    name: str
    entity: str
    data: type[Record]
    schemaversion: int = 1
    expects_listener: bool = True

    @property
    def type(self) -> str:
        """The CloudEvents `type`: `sales.order.confirmed`."""
        return f"{self.service}.{self.name}"

    @property
    def routing_key(self) -> str:
        """The AMQP routing key: the type without the service."""
        return self.name

    @property
    def exchange(self) -> str:
        """The topic exchange it travels on."""
        return f"{self.service}.events"
