import os

os.environ["EVENTLET_NO_GREENDNS"] = "yes"
import eventlet

eventlet.monkey_patch()

"""What every test may ask for; the fixtures themselves stand in tests/support.

eventlet is patched before anything else is imported, as the launcher does it in a real process.
"""

from collections.abc import Iterator

import pytest
from eventlet.hubs import get_hub
from eventlet.hubs.hub import READ
from hypothesis import HealthCheck, settings

from chassis import resolver

resolver.install()

# An example may take as long as a busy machine stands still.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

pytest_plugins = [
    "tests.support.processes",
    "tests.support.broker",
    "tests.support.postgres",
    "tests.support.rooms",
    "tests.support.local_hub",
    "hub_adapter.conformance.plugin",
]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Forget readers whose file was closed under them, as eventlet does when a socket gets its number again.

    It does not for a pipe: the next program that a test started then met the reader of a connection long gone.
    """
    yield
    hub = get_hub()
    for number, listener in list(hub.listeners[READ].items()):
        try:
            os.fstat(number)
        except OSError:
            hub.remove(listener)
            listener.defang()
