import eventlet

eventlet.monkey_patch()

"""What every test may ask for; the fixtures themselves stand in tests/support.

eventlet is patched before anything else is imported, as the launcher does it in a real process.
"""

pytest_plugins = [
    "tests.support.processes",
    "tests.support.broker",
    "tests.support.postgres",
    "tests.support.rooms",
    "tests.support.local_hub",
]
