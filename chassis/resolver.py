"""Names of hosts, looked up by the system's resolver on a thread, while the event loop goes on.

eventlet's own resolver knows DNS and /etc/hosts alone, and takes 8 MB of each process. Without it (the launcher sets
`EVENTLET_NO_GREENDNS`) a look-up would stop the whole process for as long as a name server takes.
"""

from __future__ import annotations

import socket
from typing import Any

from eventlet import tpool
from eventlet.green import socket as green
from eventlet.patcher import original

_ask = original("socket").getaddrinfo


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
    """Return what `socket.getaddrinfo` does; only the caller waits for it.

    Raises:
        socket.gaierror: nobody knows the name.
    """
    found: list[Any]
    try:
        found = _ask(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)  # an address: nobody is asked
    except socket.gaierror:
        found = tpool.execute(_ask, host, port, family, type, proto, flags)
    return found


def install() -> None:
    """Make this the look-up of the whole process, after `eventlet.monkey_patch`."""
    socket.getaddrinfo = green.getaddrinfo = getaddrinfo
