"""What a target is sent of a record: the mapping in force on its route, filled; without one, the record as it is.

Mappings and code tables are read once per process and kept under the versions that their connection's row tells, which
every claim has in hand: a connection without a mapping costs nothing, one with costs no statement until it changes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.adapters import registry
from services.integrations.domain import canonical
from services.integrations.domain import mapping as mappings
from services.integrations.domain.codes import Lookup
from services.integrations.domain.expressions import Codes
from services.integrations.domain.plain_yaml import Faulty
from services.integrations.models import CodeTable, Connection, MappingVersion, Route
from services.integrations.queries.statements import built_once, table_of

_ROUTE, _MAPPING, _CODES = table_of(Route), table_of(MappingVersion), table_of(CodeTable)
KEPT = 500
"""Connections whose mappings a process keeps."""


@dataclass(frozen=True)
class InForce:
    """What one connection sends: a mapping for each entity that has one, and the code tables.

    Attributes:
        mappings: by entity; None for one that was saved once and cannot be read any more.
        tables: our code → theirs, by table.
    """

    mappings: dict[str, mappings.Mapping | None]
    tables: dict[str, Mapping[str, Any]]

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
        if entity not in self.mappings:
            return record
        mapping = self.mappings[entity]
        if mapping is None:
            raise mappings.Unmappable("", "the mapping in force cannot be read any more: save it anew")
        return mapping.body(record, codes or Lookup(self.tables), creating=creating)

    def once(self, entity: str) -> frozenset[str]:
        """Return the fields that are left as they stand there once a record is bound."""
        mapping = self.mappings.get(entity)
        return frozenset() if mapping is None else mapping.once

    def sensitive(self, entity: str) -> list[str]:
        """Return the target fields that a mapping makes of sensitive ones: their names do not tell."""
        mapping = self.mappings.get(entity)
        return [] if mapping is None else mapping.sensitive(canonical.of_entity(entity))


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
        _known.update({keys[id]: found[id] for id in missing})
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
    for row in session.execute(*_rows([c.id for c in connections])):
        if row.kind == "table":
            found[row.connection_id].tables[row.name] = json.loads(row.text)
        else:
            found[row.connection_id].mappings[row.name] = _mapping(row.text)
    return found


def _mapping(text: str) -> mappings.Mapping | None:
    try:
        return mappings.read(text)
    except Faulty:
        return None


@built_once
def _rows(connection_ids: Collection[str]) -> sa.CompoundSelect[Any]:
    current = sa.and_(_MAPPING.c.route_id == _ROUTE.c.id, _MAPPING.c.number == _ROUTE.c.mapping_version)
    texts = (sa.select(_ROUTE.c.connection_id, sa.literal_column("'mapping'").label("kind"),
                       _ROUTE.c.entity.label("name"), _MAPPING.c.text)
             .join(_MAPPING, current).where(_ROUTE.c.connection_id.in_(connection_ids)))
    tables = (sa.select(_CODES.c.connection_id, sa.literal_column("'table'"), _CODES.c.name,
                        sa.cast(_CODES.c.codes, sa.Text))
              .where(_CODES.c.connection_id.in_(connection_ids)))
    return sa.union_all(texts, tables)
