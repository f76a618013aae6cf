"""What an operator can tell the identity service."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.config import Settings, setting


@dataclass(frozen=True, kw_only=True)
class IdentitySettings(Settings):
    """The keys of the identity service beside those that every room has."""

    password_min_length: int = setting(
        12, env="IDENTITY_PASSWORD_MIN_LENGTH", least=12, most=128, unit="characters",
        doc="Shortest password that a person may choose.",
    )  # fmt: skip
    password_hash_memory_mib: int = setting(
        64, env="IDENTITY_PASSWORD_HASH_MEMORY_MIB", least=19, most=1024, unit="MiB",
        doc="Memory of one argon2id hash; existing hashes are renewed at the next sign-in.",
    )  # fmt: skip
    password_hash_concurrency: int = setting(
        2, env="IDENTITY_PASSWORD_HASH_CONCURRENCY", least=1, most=64,
        doc="Passwords hashed at once; each takes a core and the memory above while it lasts.",
    )  # fmt: skip
    session_idle_h: float = setting(
        12.0, env="IDENTITY_SESSION_IDLE_H", least=0.1, most=720, unit="h",
        doc="A session ends after this long without a request.",
    )  # fmt: skip
    session_max_h: float = setting(
        168.0, env="IDENTITY_SESSION_MAX_H", least=0.1, most=8760, unit="h",
        doc="A session ends this long after the sign-in, used or not.",
    )  # fmt: skip
    api_key_max_days: int = setting(
        366, env="IDENTITY_API_KEY_MAX_DAYS", least=1, most=3660, unit="days",
        doc="Longest life of an API key, and its life when none is asked for.",
    )  # fmt: skip
    user_free_failures: int = setting(
        5, env="IDENTITY_USER_FREE_FAILURES", least=1, most=100,
        doc="Failed sign-ins of one user name before it is locked; each further one doubles the wait.",
    )  # fmt: skip
    source_free_failures: int = setting(
        50, env="IDENTITY_SOURCE_FREE_FAILURES", least=1, most=10_000,
        doc="The same for one address, which a whole office may share.",
    )  # fmt: skip
    longest_lock_s: int = setting(
        900, env="IDENTITY_LONGEST_LOCK_S", least=1, most=86_400, unit="s",
        doc="Longest wait between two attempts.",
    )  # fmt: skip
    login_event_retention_days: int = setting(
        366, env="IDENTITY_LOGIN_EVENT_RETENTION_DAYS", least=30, most=3660, unit="days",
        doc="How long attempts to sign in, and ended sessions, are kept.",
    )  # fmt: skip
