"""Named places where a fault test ends, stops or breaks this process. Production configuration refuses them."""

from __future__ import annotations

import os
import signal

_armed: dict[str, str] = {}
_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class FailpointReached(RuntimeError):
    """A test armed this failpoint with `raise`."""


def arm(spec: str) -> None:
    """Arm failpoints from `name=action,name=action`; an action is kill, stop or raise. An empty spec disarms all.

    Raises:
        ValueError: an action is unknown.
    """
    _armed.clear()
    for pair in filter(None, (part.strip() for part in spec.split(","))):
        name, _, action = pair.partition("=")
        if action not in {*_ACTIONS, "raise"}:
            raise ValueError(f"failpoint {name}: the action must be kill, stop or raise, not {action!r}")
        _armed[name] = action


def failpoint(name: str) -> None:
    """End here if a test asked for it; a failpoint acts once."""
    if not _armed:
        return
    action = _armed.pop(name, None)
    if action in _ACTIONS:
        os.kill(os.getpid(), _ACTIONS[action])
    elif action:
        raise FailpointReached(name)
