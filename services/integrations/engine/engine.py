"""The engine of one process: its workers, which share targets and wake each other."""

from __future__ import annotations

from collections.abc import Iterable

from chassis import owner
from chassis.crypto import Keyring
from chassis.database import Database
from chassis.runtime import Runtime
from services.integrations.engine.dispatcher import Dispatcher
from services.integrations.engine.poller import Poller
from services.integrations.engine.pruner import Pruner
from services.integrations.engine.renewals import Renewals
from services.integrations.engine.runner import Runner
from services.integrations.engine.sweeper import Sweeper
from services.integrations.engine.targets import Targets
from services.integrations.settings import IntegrationsSettings


class Engine:
    """Background work of the integrations service. Several processes may run one each on the same database."""

    def __init__(self, db: Database, keyring: Keyring, settings: IntegrationsSettings) -> None:
        me = owner.this_process()
        self.targets = Targets(keyring)
        self.dispatcher = Dispatcher(db, keyring, self.targets, settings, me)
        self.sweeper = Sweeper(db, settings.sweep_every_s, self.dispatcher.wake)
        renew = Renewals(db, keyring, self.targets).renewed
        self.poller = Poller(db, self.targets, settings, me, renew)
        self.runner = Runner(db, self.targets, settings, me, renew, self.dispatcher.wake)
        self.pruner = Pruner(db, settings.delivery_retention_days)

    def wake(self, connection_ids: Iterable[str]) -> None:
        """Say that these connections have something to send."""
        self.dispatcher.wake(connection_ids)


def engine_of(runtime: Runtime) -> Engine:
    """Return the engine of this process, which the door has put there."""
    engine: Engine = runtime.extra["engine"]
    return engine
