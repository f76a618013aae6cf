"""What a target is sent of a record: the mapping in force on its route, filled; without one, the record as it is.

They, code tables, and what routes say of conflicts are read once per process and kept under the versions that their
connection's row tells, which every claim has in hand: a connection without any costs nothing, one with costs no
statement until it changes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.database import after_commit
from services.integrations.adapters import registry
from services.integrations.domain import canonical, mapping_checks
from services.integrations.domain import mapping as mappings
from services.integrations.domain.codes import Lookup
from services.integrations.domain.expressions import Codes, Expression, ExpressionError, is_true, parse
from services.integrations.domain.merging import Owner
from services.integrations.domain.plain_yaml import Fault, Faulty
from services.integrations.models import CodeTable, Connection, MappingVersion, Route
from services.integrations.queries.statements import built_once, table_of

log = telemetry.logger(__name__)

_ROUTE, _MAPPING, _CODES = table_of(Route), table_of(MappingVersion), table_of(CodeTable)
KEPT = 500
"""Connections whose mappings a process keeps."""


@dataclass(frozen=True)
class InForce:
    """What one connection sends: a mapping for each entity that has one, the code tables, and whose a field is.

    Attributes:
        mappings: by entity.
        tables: our code → theirs, by table.
        unusable: why the mapping or filter of an entity, which was saved once, is used no more; such records are not
            sent.
        owners: entity → field → whose it is, as far as its route says.
        filters: by entity, which records are made there.
        asking: entities of which a person is asked if a record has gone there.
    """

    mappings: dict[str, mappings.Mapping]
    tables: dict[str, Mapping[str, Any]]
    unusable: dict[str, str] = field(default_factory=dict)
    owners: dict[str, Mapping[str, Owner]] = field(default_factory=dict)
    asking: set[str] = field(default_factory=set)
    filters: dict[str, Expression] = field(default_factory=dict)

    def take(self, entity: str, text: str, target: Mapping[str, Any] | None) -> None:
        """Put a mapping in force that was saved at some time; `target` is the schema of what is taken there."""
        try:
            mapping = mappings.read(text)
        except Faulty as error:
            self.unusable[entity] = _saved_once(error.faults[0])
            return
        if faults := mapping_checks.sensitive_lookups(mapping, canonical.of_entity(entity), target):
            self.unusable[entity] = _saved_once(faults[0])
        else:
            self.mappings[entity] = mapping

    def choose(self, entity: str, text: str) -> None:
        """Put a filter in force that was saved at some time."""
        try:
            self.filters[entity] = parse(text)
        except ExpressionError as error:
            self.unusable[entity] = (f"the filter was saved when this was not refused, character {error.offset + 1}: "
                                     f"{error}. Give the route another one")

    def body(self, entity: str, record: Mapping[str, Any], *, creating: bool = True,
             codes: Codes | None = None) -> Mapping[str, Any]:
        """Return what the target is sent of a record.

        Args:
            entity, record: what is to be sent.
            creating: whether it is made there, and not changed.
            codes: looks codes up instead of `tables`.

        Raises:
            Unmappable: a field cannot be filled.
        """
        if entity in self.unusable:
            raise mappings.Unmappable("", self.unusable[entity])
        try:
            self._filtered(entity, record)
        except ExpressionError as error:
            raise mappings.Unmappable("filter", str(error)) from error
        mapping = self.mappings.get(entity)
        if mapping is None:
            return record
        return mapping.body(record, codes or Lookup(self.tables), creating=creating)

    def admits(self, entity: str, record: Mapping[str, Any]) -> bool:
        """Tell whether a record that is not there yet is to be made there; one that a filter fails on is, as the
        failure is told by `body`."""
        try:
            return is_true(self._filtered(entity, record))
        except ExpressionError:
            return True

    def _filtered(self, entity: str, record: Mapping[str, Any]) -> Any:
        chosen = self.filters.get(entity)
        return chosen is None or chosen.value(record, Lookup(self.tables))

    def once(self, entity: str) -> frozenset[str]:
        """Return the fields that are left as they stand there once a record is bound."""
        mapping = self.mappings.get(entity)
        return frozenset() if mapping is None else mapping.once

    def sensitive(self, entity: str) -> list[str]:
        """Return the target fields that a mapping makes of sensitive ones: their names do not tell."""
        mapping = self.mappings.get(entity)
        return [] if mapping is None else mapping.sensitive(canonical.of_entity(entity))


def _saved_once(fault: Fault) -> str:
    return (f"the mapping was saved when this was not refused, line {fault.place.line}: {fault.message} "
            "Save it anew without that, and put the new version in force")


_known: dict[tuple[str, int | None, int], InForce] = {}


def in_force(session: Session, connections: Collection[Connection]) -> dict[str, InForce]:
    """Return what is in force, by connection, for those that have ever had a mapping or a code table.

    One statement for all that this process has not read yet, none otherwise. Whoever sends holds the connections' rows,
    else a mapping could be switched on meanwhile.
    """
    keys = {c.id: (c.id, c.mapping_version, c.setup_version) for c in connections if c.mapping_version is not None}
    found = {id: _known[key] for id, key in keys.items() if key in _known}
    missing = keys.keys() - found.keys()
    if missing:
        found |= _read(session, [c for c in connections if c.id in missing])
        if len(_known) > KEPT:
            _known.clear()
        # Only what is committed: after a rollback another change bears the same version.
        after_commit(session, partial(_known.update, {keys[id]: found[id] for id in missing}))
    return found


def of(session: Session, connection: Connection) -> InForce:
    """Return what is in force on one connection."""
    found = in_force(session, [connection]).get(connection.id)
    return found if found is not None else InForce({}, tables_of_settings(connection))


def tables_of_settings(connection: Connection) -> dict[str, Mapping[str, Any]]:
    """Return the code tables that are settings of the connection, because its adapter looks them up itself."""
    return {name: connection.config.get(name) or {} for name in registry.load(connection.adapter).spec.code_tables}


def _read(session: Session, connections: Collection[Connection]) -> dict[str, InForce]:
    found = {c.id: InForce({}, tables_of_settings(c)) for c in connections}
    targets = {c.id: registry.load(c.adapter).spec.fields for c in connections}
    for row in session.execute(*_rows([c.id for c in connections])):
        if row.kind == "table":
            found[row.connection_id].tables[row.name] = json.loads(row.text)
        elif row.kind == "owners":
            found[row.connection_id].owners[row.name] = json.loads(row.text)
        elif row.kind == "filter":
            found[row.connection_id].choose(row.name, json.loads(row.text))
        elif row.kind == "asking":
            found[row.connection_id].asking.add(row.name)
        else:
            found[row.connection_id].take(row.name, row.text, targets[row.connection_id].get(row.name))
    for connection_id, sent in found.items():
        for entity in sent.unusable:
            log.error("mapping_unusable", connection_id=connection_id, entity=entity)
    return found


@built_once
def _rows(connection_ids: Collection[str]) -> sa.CompoundSelect[Any]:
    current = sa.and_(_MAPPING.c.route_id == _ROUTE.c.id, _MAPPING.c.number == _ROUTE.c.mapping_version)
    texts = (sa.select(_ROUTE.c.connection_id, sa.literal_column("'mapping'").label("kind"),
                       _ROUTE.c.entity.label("name"), _MAPPING.c.text)
             .join(_MAPPING, current).where(_ROUTE.c.connection_id.in_(connection_ids)))
    tables = (sa.select(_CODES.c.connection_id, sa.literal_column("'table'"), _CODES.c.name,
                        sa.cast(_CODES.c.codes, sa.Text))
              .where(_CODES.c.connection_id.in_(connection_ids)))
    of_route = [
        sa.select(_ROUTE.c.connection_id, sa.literal_column(f"'{kind}'"), _ROUTE.c.entity, sa.cast(said, sa.Text))
        .where(_ROUTE.c.connection_id.in_(connection_ids), where)
        for kind, said, where in (("owners", _ROUTE.c.owners, _ROUTE.c.owners.is_not(None)),
                                  ("filter", _ROUTE.c.filter, _ROUTE.c.filter.is_not(None)),
                                  ("asking", _ROUTE.c.on_missing, _ROUTE.c.on_missing == "conflict"))]
    return sa.union_all(texts, tables, *of_route)
