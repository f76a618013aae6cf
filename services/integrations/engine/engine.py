"""The engine of one process: dispatcher, sweeper and poller, started and stopped together."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from chassis.crypto import Keyring
from chassis.database import Database
from services.integrations.engine import owner
from services.integrations.engine.dispatcher import Dispatcher
from services.integrations.engine.poller import Poller
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
        self.poller = Poller(db, self.targets, settings, me)

    def wake(self, connection_ids: Iterable[str]) -> None:
        """Say that these connections have something to send."""
        self.dispatcher.wake(connection_ids)

    def run(self) -> None:
        """Work until `stop`, and until the calls in hand are settled."""
        helpers = [threading.Thread(target=part.run, name=type(part).__name__, daemon=True)
                   for part in (self.sweeper, self.poller)]
        for helper in helpers:
            helper.start()
        self.dispatcher.run()
        for helper in helpers:
            helper.join()

    def stop(self) -> None:
        """Ask `run` to return."""
        self.poller.stop()
        self.sweeper.stop()
        self.dispatcher.stop()
