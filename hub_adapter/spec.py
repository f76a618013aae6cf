"""What an adapter says about itself, without a network: what it needs to be told, carries, can do and bears."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = Mapping[str, Any]

EFFECTIVELY_ONCE = "effectively once"
AT_LEAST_ONCE = "at least once, in doubt to a person"


class Capability(StrEnum):
    """What a target can do. Declare only what the conformance kit can prove."""

    IDEMPOTENCY_KEY = "idempotency_key"
    """The target itself refuses or repeats the answer to a second write with the same key."""
    FIND_BY_LOCAL_KEY = "find_by_local_key"
    """A record can be found at the target by our own id, so that a lost answer ends in a look-up."""
    CONDITIONAL_WRITE = "conditional_write"
    """A write with a stale `expected_version` is refused by the target (ETag, sequence, row version)."""
    NATIVE_UPSERT = "native_upsert"
    """A write is one request, whether the record is there or not. By which key it finds the record is not said, so this
    earns no guarantee: where it is ours, and a second write makes no second record, `idempotency_key` says so."""
    LIST_COMPLETE = "list_complete"
    """`list` reaches every record; only then may a missing one be taken for deleted."""
    INCREMENTAL = "incremental"
    """`changes` is answered."""
    WEBHOOK = "webhook"
    """`parse_webhook` is answered."""
    REFRESH = "refresh"
    """`refresh` is answered: what is left of a credential is traded for a fresh one."""


def guarantee(capabilities: frozenset[Capability]) -> str:
    """What a connection may promise: shown to a person before it is switched on, never chosen by hand."""
    proven = {Capability.IDEMPOTENCY_KEY, Capability.FIND_BY_LOCAL_KEY}
    return EFFECTIVELY_ONCE if capabilities & proven else AT_LEAST_ONCE


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the target bears. The engine keeps to it, and an administrator may lower it per connection."""

    rate_per_s: float | None = None
    """At least 0.4: a call of ten requests, as the longest are, takes 25 s by that, its whole time."""
    burst: int = 1
    max_in_flight: int = 4
    page_size: int = 100
    """Rows that `list` and `changes` should be asked for at once."""


@dataclass(frozen=True, kw_only=True)
class AdapterSpec:
    """What an adapter says about itself, without a network.

    Args:
        config_schema: JSON Schema 2020-12 of a connection's config; each property with a `description`.
        secret_fields: names under `Context.secrets`; never part of the config.
        entities: canonical entities that `get`, `find`, `list`, `write` understand.
        pulled: those of them that `changes` reports.
        address: settings that decide where the secrets are sent; changing one takes the credential away until it is put
            again. None, for an adapter that does not say, stands for every setting of its own.
        accounts: those entities whose records lie in the account of the person they are assigned to; the account comes
            as `Write.references["account"]`, and one that belongs to nobody is not brought there.
        consent: entity → the channel for which a record's consent must be granted; without it a record that is there
            is deleted (unsubscribed) and one that is not is left out. Granted again, it is written to the same id.
        natural_keys: entity → the field of the canonical record by which `find` knows it, for a target that has no room
            for our id. It is unique there, and `write` looks by it before it creates.
        fields: entity → JSON Schema 2020-12 of the bodies that `write` takes: what a mapping can fill. A field that
            the adapter translates by a table of its settings names it, `"codeTable": "taxes"`, so that a code without
            a counterpart is found before a record is sent.
        signed_headers: the headers of a webhook's message that are its signature or are covered by it, a stamp say.
            With the body they are what a repeated message is known by: whoever repeats one can alter any other.
    """

    name: str
    version: str
    title: str
    config_schema: Json
    secret_fields: tuple[str, ...]
    entities: tuple[str, ...]
    pulled: tuple[str, ...] = ()
    address: tuple[str, ...] | None = None
    accounts: tuple[str, ...] = ()
    consent: Mapping[str, str] = field(default_factory=dict)
    natural_keys: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Json] = field(default_factory=dict)
    signed_headers: tuple[str, ...] = ()
    capabilities: frozenset[Capability]
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not set(self.pulled) <= set(self.entities):
            raise ValueError(f"{self.name}: `pulled` names entities that `entities` lacks")
        if not {*self.accounts, *self.consent, *self.natural_keys, *self.fields} <= set(self.entities):
            raise ValueError(f"{self.name}: `accounts`, `consent`, `natural_keys` or `fields` names what "
                             "`entities` lacks")
        if not self.code_tables <= set(self.config_schema.get("properties", {})):
            raise ValueError(f"{self.name}: `fields` names a code table that is no setting")
        if self.pulled and Capability.INCREMENTAL not in self.capabilities:
            raise ValueError(f"{self.name}: `pulled` needs the capability `incremental`")
        if set(self.secret_fields) & set(self.config_schema.get("properties", {})):
            raise ValueError(f"{self.name}: a secret field must not be part of the config")

    @property
    def guarantee(self) -> str:
        return guarantee(self.capabilities)

    @property
    def honours_key(self) -> bool:
        """Whether sending twice under one key makes one record there."""
        return Capability.IDEMPOTENCY_KEY in self.capabilities

    @property
    def code_tables(self) -> frozenset[str]:
        """The settings that hold code tables: our code → theirs."""
        return frozenset(table for schema in self.fields.values() for table in _tables(schema))

    def sought_by(self, entity: str, local_id: str, record: Json | None) -> Mapping[str, str] | None:
        """What `find` is given to look for a record of ours that is not bound.

        Empty if it could never have been made there, None if the target cannot be asked for it, or nobody knows by
        what: `record` is None.
        """
        if Capability.FIND_BY_LOCAL_KEY in self.capabilities:
            return {"id": local_id}
        field_name = self.natural_keys.get(entity)
        if field_name is None or record is None:
            return None
        return {field_name: str(record[field_name])} if record.get(field_name) else {}

    def signed(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Those of a message's headers that its sender has signed, by their names in small letters."""
        names = {name.lower() for name in self.signed_headers}
        return {name.lower(): value for name, value in headers.items() if name.lower() in names}

    def moved(self, before: Json, after: Json) -> bool:
        """Whether secrets put for the one config would go somewhere else with the other."""
        names = self.address if self.address is not None else (before.keys() | after.keys()) - {"allow_private"}
        return any(before.get(name) != after.get(name) for name in names)


def _tables(schema: Json) -> Iterator[str]:
    if "codeTable" in schema:
        yield schema["codeTable"]
    for below in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from _tables(below)
