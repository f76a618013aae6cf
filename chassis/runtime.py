"""What one process of a service holds: settings, database, keys, relay, health."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from typing import Any

from chassis import idempotency, inbox, outbox, telemetry
from chassis.config import Settings
from chassis.context import Verifier
from chassis.crypto import DataKeys, Keyring, MasterKey, WireCodec
from chassis.database import Database, utcnow
from chassis.health import Health
from chassis.relay import Relay
from chassis.sealed import KEYRING
from contracts.schema import install_codec

log = telemetry.logger(__name__)


@dataclass
class Runtime:
    """Everything that operations and background work of one process share.

    Attributes:
        settings: of the room.
        master: the key under which all others are wrapped.
        codec: seals what travels.
        verifier: checks who calls.
        health: what `/readyz` tells.
        store: the room's database with its keys and relay; None in a room that keeps nothing (the gateway).
        extra: what a room adds for itself, by name.
        stopping: set when this process has been asked to stop.
    """

    settings: Settings
    master: MasterKey
    codec: WireCodec
    verifier: Verifier
    health: Health
    store: Store | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    stopping: Event = field(default_factory=Event)

    @property
    def db(self) -> Database:
        """The room's database."""
        return self._store.db

    @property
    def keyring(self) -> Keyring:
        """The keys of the room's sealed columns."""
        return self._store.keyring

    @property
    def relay(self) -> Relay:
        """What carries the room's events to the broker."""
        return self._store.relay

    @property
    def _store(self) -> Store:
        if self.store is None:
            raise RuntimeError(f"the room {self.settings.room} keeps no data")
        return self.store

    @classmethod
    def build(cls, settings: Settings, sealed_columns: tuple[str, ...] | None, health: Health | None = None) -> Runtime:
        """Load the keys, and open the database of a room that has one (`sealed_columns` is not None).

        `health` is what already answers for this process, if anything does.

        Raises:
            MasterKeyError: the master key is missing or unusable.
            Unavailable: the database is away or not migrated.
        """
        master = MasterKey.load(settings.master_key_file)
        codec = WireCodec(master)
        install_codec(codec)
        store = None if sealed_columns is None else Store.open(settings, master, sealed_columns)
        return cls(settings, master, codec, Verifier(settings.token_keys_dir), health or Health(), store)

    def close(self) -> None:
        """Close what was opened."""
        self.health.close()
        if self.store is not None:
            self.store.db.close()


@dataclass(frozen=True)
class Store:
    """A room's database, and what goes with it."""

    db: Database
    keyring: Keyring
    relay: Relay

    @classmethod
    def open(cls, settings: Settings, master: MasterKey, sealed_columns: tuple[str, ...]) -> Store:
        """Open the database; make the keys of its sealed columns if this is the first time.

        Raises:
            Unavailable: the database is away or not migrated.
        """
        keyring = Keyring(master, DataKeys(settings.db_uri))
        keyring.prepare(sealed_columns)
        db = Database(settings.db_uri, pool_size=settings.max_workers + settings.event_workers + 4,
                      info={KEYRING: keyring, "outbox_retention_h": settings.outbox_retention_h})
        relay = Relay(db, settings.amqp_uri, settings.room)
        db.info["relay"] = relay
        return cls(db, keyring, relay)


def prune(runtime: Runtime) -> int:
    """Delete a batch of what is past its retention; return how many rows went.

    Each kind goes in its own short transaction, so that pruning never stands in the way of a request.
    """
    settings, now, gone = runtime.settings, utcnow(), 0
    for room, hours in ((outbox, settings.outbox_retention_h), (inbox, settings.inbox_retention_h),
                        (idempotency, settings.idempotency_retention_h)):
        with runtime.db.write() as session:
            gone += room.prune(session, before=now - timedelta(hours=hours))
    return gone
