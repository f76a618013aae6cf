"""Settings: a YAML file and the environment become one frozen, checked object, or the process does not start.

The environment wins over the file, the file over the default. Every key is declared once, with its unit and meaning,
and the service's README lists it (a test holds the two together).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from marshmallow import ValidationError, fields, validate


class ConfigError(Exception):
    """The configuration cannot be used; the text names each key and what to do."""


def setting(
    default: Any = MISSING, *, env: str, doc: str, unit: str = "", choices: tuple[str, ...] = (),
    least: float | None = None, most: float | None = None, secret: bool = False,
) -> Any:
    """Declare one key of a `Settings` class.

    Args:
        default: used when neither file nor environment gives a value; without one the key is required. `{home}` and
            `{room}` in text are filled in.
        env: environment variable; `{ROOM}` is the room's name in capitals.
        doc: one sentence for the operator.
        unit: of a number (`s`, `days`, `bytes`).
        choices, least, most: what is allowed.
        secret: never shown by `hub config`.
    """
    metadata = {"env": env, "doc": doc, "unit": unit, "choices": choices, "least": least, "most": most,
                "secret": secret}
    if default is MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every room can be told."""

    room: str = setting(env="HUB_ROOM", doc="Name of the room; given by the launcher.")
    env: str = setting("development", env="HUB_ENV", choices=("development", "production"),
                       doc="Production refuses failpoints and a missing master key.")
    home: Path = setting(  # noqa: RUF009 (declares a field)
        Path(".hub"), env="HUB_HOME", doc="Folder of everything this hub keeps on this machine.")
    amqp_uri: str = setting("amqp://guest:guest@127.0.0.1:5672//", env="AMQP_URI", secret=True,
                            doc="The RabbitMQ broker; `?heartbeat=` and TLS options as kombu takes them.")
    db_uri: str = setting("sqlite:///{home}/db/{room}.sqlite", env="DB_URI_{ROOM}", secret=True,
                          doc="The room's own database: sqlite:///file or postgresql://user:password@host/name.")
    health_address: str = setting("127.0.0.1:0", env="HEALTH_ADDRESS_{ROOM}",
                                  doc="host:port of /livez, /readyz and /metrics; port 0 takes any free one.")
    max_workers: int = setting(10, env="MAX_WORKERS_{ROOM}", least=1, most=200,
                               doc="Requests that this process works on at once.")
    event_workers: int = setting(4, env="EVENT_WORKERS_{ROOM}", least=1, most=100,
                                 doc="Events that this process works on at once, apart from the requests.")
    event_pause_s: float = setting(0.2, env="EVENT_PAUSE_S_{ROOM}", unit="s", least=0.001, most=10,
                                   doc="Pause after an event's first failure; each further one is four times as long, "
                                       "up to 300 times the first.")
    delivery_limit: int = setting(10, env="DELIVERY_LIMIT_{ROOM}", least=1, most=50,
                                  doc="Times a failing event is tried before it is parked in `<queue>.dead`.")
    rpc_queue_type: str = setting("classic", env="RPC_QUEUE_TYPE", choices=("classic", "quorum"),
                                  doc="`quorum` in a cluster; the queue's name carries the type.")
    master_key_file: Path = setting(  # noqa: RUF009 (declares a field)
        Path("{home}/keys/master.key"), env="HUB_MASTER_KEY_FILE",
        doc="The key under which all data keys are wrapped. Back it up apart from the data.")
    token_keys_dir: Path = setting(  # noqa: RUF009 (declares a field)
        Path("{home}/keys/tokens"), env="HUB_TOKEN_KEYS_DIR",
        doc="Public keys `<kid>.pub.pem` that context tokens are verified with.")
    audit_dir: Path = setting(  # noqa: RUF009 (declares a field)
        Path("{home}/audit"), env="HUB_AUDIT_DIR",
        doc="Folder of the audit trail's checkpoints, written as it is sealed. Best on another disk than the data.")
    outbox_retention_h: float = setting(72.0, env="OUTBOX_RETENTION_H", unit="h", least=1, most=8760,
                                        doc="How long sent events are kept for a resend.")
    inbox_retention_h: float = setting(336.0, env="INBOX_RETENTION_H", unit="h", least=2, most=8760,
                                       doc="How long event ids are remembered; must exceed the outbox retention.")
    idempotency_retention_h: float = setting(48.0, env="IDEMPOTENCY_RETENTION_H", unit="h", least=24, most=8760,
                                             doc="How long the answer to an idempotency key is kept.")
    log_level: str = setting("INFO", env="HUB_LOG_LEVEL", choices=("DEBUG", "INFO", "WARNING", "ERROR"),
                             doc="Least severe event that is logged.")
    default_region: str = setting("CN", env="HUB_DEFAULT_REGION",
                                  doc="ISO 3166 country whose dialling rules read a phone number without a prefix.")
    otlp_endpoint: str = setting("", env="OTEL_EXPORTER_OTLP_ENDPOINT",
                                 doc="Collector that traces are sent to by OTLP over HTTP, such as "
                                     "http://collector:4318; empty sends none.")
    trace_ratio: float = setting(1.0, env="OTEL_TRACES_SAMPLER_ARG", least=0, most=1,
                                 doc="Share of requests that are traced while a collector is set.")
    failpoints: str = setting("", env="HUB_FAILPOINTS",
                              doc="`name=kill|stop|raise` pairs for fault tests; refused in production.")

    @classmethod
    def load(cls, room: str, environ: Mapping[str, str], file: Path | None = None) -> Self:
        """Return the settings of `room`.

        Args:
            room: the room's name.
            environ: usually `os.environ`.
            file: a YAML mapping of keys to values; None or `HUB_CONFIG_<ROOM>` in the environment names it.

        Raises:
            ConfigError: a key is unknown, missing or out of range; all of them are named at once.
        """
        named = environ.get(f"HUB_CONFIG_{room.upper()}")
        given = _read_yaml(file or (Path(named) if named else None))
        faults = [f"{key}: no such key in {room}'s configuration" for key in given if key not in _declared(cls)]
        values: dict[str, Any] = {"room": room}
        for name, declared in _declared(cls).items():
            if name == "room":
                continue
            variable = declared.metadata["env"].format(ROOM=room.upper())
            raw = environ.get(variable, given.get(name))
            if raw is None and declared.default is MISSING:
                faults.append(f"{name}: required; set {variable} or the key {name!r}")
            elif raw is not None:
                try:
                    values[name] = _convert(cls, declared, raw)
                except ValidationError as error:
                    faults.append(f"{name} ({variable}): {' '.join(error.messages)}")
        if faults:
            raise ConfigError("; ".join(faults))
        checked: Self = _checked(_filled(cls(**values)))
        return checked


def describe(cls: type[Settings], room: str) -> list[dict[str, Any]]:
    """Return each key of `cls` with its variable, default, unit, choices and meaning, for docs and `hub config`."""
    return [
        {"key": f.name, "default": None if f.default is MISSING else f.default, **f.metadata,
         "env": f.metadata["env"].format(ROOM=room.upper())}
        for f in _declared(cls).values()
    ]


def _declared(cls: type[Settings]) -> dict[str, dataclasses.Field[Any]]:
    return {f.name: f for f in dataclasses.fields(cls)}


def _read_yaml(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must hold a mapping of keys to values")
    return content


_FIELDS: dict[Any, type[fields.Field[Any]]] = {
    str: fields.String, int: fields.Integer, float: fields.Float, bool: fields.Boolean, Path: fields.String,
}


def _convert(cls: type[Settings], declared: dataclasses.Field[Any], raw: Any) -> Any:
    kind = typing.get_type_hints(cls)[declared.name]
    if isinstance(kind, types.UnionType):
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if typing.get_origin(kind) is tuple:
        return tuple(part.strip() for part in raw.split(",") if part.strip()) if isinstance(raw, str) else tuple(raw)
    checks: list[Any] = []
    if declared.metadata["choices"]:
        checks.append(validate.OneOf(declared.metadata["choices"], error="Must be one of: {choices}."))
    if declared.metadata["least"] is not None or declared.metadata["most"] is not None:
        checks.append(validate.Range(min=declared.metadata["least"], max=declared.metadata["most"]))
    value = _FIELDS[kind](validate=checks).deserialize(raw)
    return Path(value) if kind is Path else value


def _filled(settings: Settings) -> Any:
    """Fill `{home}` and `{room}` into text and paths."""
    home = settings.home.absolute()
    changes: dict[str, Any] = {"home": home}
    for name in _declared(type(settings)):
        value = getattr(settings, name)
        if name not in {"home", "room"} and isinstance(value, str | Path) and "{" in str(value):
            changes[name] = type(value)(str(value).replace("{home}", str(home)).replace("{room}", settings.room))
    return dataclasses.replace(settings, **changes)


def _checked(settings: Any) -> Any:
    if settings.inbox_retention_h <= settings.outbox_retention_h:
        raise ConfigError("inbox_retention_h must exceed outbox_retention_h: a resend would be taken for new events")
    if settings.env == "production" and settings.failpoints:
        raise ConfigError("failpoints (HUB_FAILPOINTS) are refused in production; unset them")
    return settings
