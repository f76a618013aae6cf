"""What stands between a connection and its first call."""

from __future__ import annotations

from services.integrations.models import Connection


def gaps(connection: Connection) -> list[dict[str, str]]:
    """Return what is missing, each as `field` and `message`; the last check tells most of it."""
    if connection.desired_state == "stopped":
        return [{"field": "desired_state", "message": "The connection is stopped."}]
    if connection.checked_version != connection.setup_version:
        return [{"field": "check", "message": "The connection has not been checked since its settings or credential "
                                              "changed: POST /connections/{id}/check."}]
    if connection.check_ok:
        return []
    return [*(connection.check_problems or []), *([] if connection.check_problems else [
        {"field": "check", "message": connection.check_message or "The last check failed."}])]
