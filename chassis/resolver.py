"""Names of hosts, looked up by the system's resolver on a thread, while the event loop goes on.

eventlet's own resolver knows DNS and /etc/hosts alone, and takes 8 MB of each process. Without it (the launcher sets
`EVENTLET_NO_GREENDNS`) a look-up would stop the whole process for as long as a name server takes.

Each look-up has a thread of its own, not one of `eventlet.tpool`: a name server that swallows questions would hold up
all that waits for that pool, passwords and the audit trail, and keep a process from ending until it has answered.
"""

from __future__ import annotations

import socket
from typing import Any

from eventlet.green import socket as green
from eventlet.hubs import trampoline
from eventlet.patcher import original

_ask = original("socket").getaddrinfo
_pair, _Thread = original("socket").socketpair, original("threading").Thread


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
    """Return what `socket.getaddrinfo` does; only the caller waits for it.

    Raises:
        socket.gaierror: nobody knows the name.
    """
    found: list[Any]
    try:
        found = _ask(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)  # an address: nobody is asked
    except socket.gaierror:
        found = _on_a_thread(host, port, family, type, proto, flags)
    return found


def _on_a_thread(*question: Any) -> Any:
    ours, theirs = _pair()
    told: list[Any] = []

    def look_up() -> None:
        try:
            told.append(_ask(*question))
        except Exception as error:
            told.append(error)
        finally:
            theirs.close()  # wakes whoever still waits

    try:
        # A daemon: nobody waits for it at the end of the process.
        _Thread(target=look_up, name="resolver", daemon=True).start()
        trampoline(ours, read=True)
    finally:
        ours.close()
    [answer] = told
    if isinstance(answer, Exception):
        raise answer
    return answer


def install() -> None:
    """Make this the look-up of the whole process, after `eventlet.monkey_patch`."""
    socket.getaddrinfo = green.getaddrinfo = getaddrinfo
