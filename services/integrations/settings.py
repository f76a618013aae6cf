"""What an operator can tell the integrations service."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.config import Settings, setting


@dataclass(frozen=True, kw_only=True)
class IntegrationsSettings(Settings):
    """Settings of the integrations service beside those of every room."""

    lease_s: float = setting(60.0, env="INTEGRATIONS_LEASE_S", unit="s", least=1, most=3600,
                             doc="How long a delivery belongs to one process; renewed at a third of it.")
    call_deadline_s: float = setting(30.0, env="INTEGRATIONS_CALL_DEADLINE_S", unit="s", least=0.1, most=1800,
                                     doc="Longest call to a target; the lease must outlast it.")
    max_calls: int = setting(64, env="INTEGRATIONS_MAX_CALLS", least=1, most=500,
                             doc="Calls that this process makes at once, over all connections.")
    sweep_every_s: float = setting(5.0, env="INTEGRATIONS_SWEEP_EVERY_S", unit="s", least=0.1, most=60,
                                   doc="How often forgotten rows are looked for in every state that is not final.")
    delivery_retention_days: int = setting(
        90, env="INTEGRATIONS_DELIVERY_RETENTION_DAYS", unit="days", least=1, most=3660,
        doc="How long settled deliveries and their attempts are kept; what is dead stays.",
    )  # fmt: skip
    poll_every_s: float = setting(60.0, env="INTEGRATIONS_POLL_EVERY_S", unit="s", least=1, most=86_400,
                                  doc="Pause between two polls of a target for its changes.")
    doubt_proof_s: float = setting(5.0, env="INTEGRATIONS_DOUBT_PROOF_S", unit="s", least=1, most=600,
                                   doc="Seconds after a lost answer from which an empty look-up is believed.")
