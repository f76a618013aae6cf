"""Doors for mappings and code tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chassis.entrypoints import Call, exposes
from chassis.paging import Page
from contracts import integrations as contract
from services.integrations.engine import gaps
from services.integrations.operations import code_tables
from services.integrations.operations import mappings as operations
from services.integrations.queries import mappings as queries


class MappingDoors:
    """Answers for what targets are sent of a record."""

    @exposes(contract.SAVE_MAPPING)
    def save_mapping(self, call: Call) -> Mapping[str, Any]:
        """Save a mapping as a new version."""
        return operations.save(call.session, call.runtime.keyring, call.request, by=call.subject)

    @exposes(contract.LIST_MAPPINGS)
    def list_mappings(self, call: Call) -> Page:
        """List the versions of a mapping."""
        route = queries.route_of(call.session, call.request["id"], call.subject, "read")
        page = queries.listed(call.session, call.request, call.subject, call.runtime.codec)
        return Page([operations.told(one, route) for one in page.items], page.next)

    @exposes(contract.GET_MAPPING)
    def get_mapping(self, call: Call) -> Mapping[str, Any]:
        """Read a version of a mapping."""
        route = queries.route_of(call.session, call.request["id"], call.subject, "read")
        return operations.told(queries.get(call.session, route.id, call.request["number"], call.subject), route)

    @exposes(contract.USE_MAPPING, session=False)
    def use_mapping(self, call: Call) -> Mapping[str, Any]:
        """Put a version of a mapping in force."""
        runtime = call.runtime
        return gaps.use(runtime.db, runtime.keyring, call.request, by=call.subject, keep=call.keep)

    @exposes(contract.PREVIEW_MAPPING)
    def preview_mapping(self, call: Call) -> Mapping[str, Any]:
        """Show what a mapping would send of real records."""
        return operations.preview(call.session, call.runtime.keyring, call.request, by=call.subject)

    @exposes(contract.LIST_CODE_TABLES)
    def list_code_tables(self, call: Call) -> Mapping[str, Any]:
        """List the code tables of a connection."""
        return code_tables.listed(call.session, call.request, by=call.subject)

    @exposes(contract.GET_CODE_TABLE)
    def get_code_table(self, call: Call) -> Mapping[str, Any]:
        """Read a code table."""
        return code_tables.get(call.session, call.request, by=call.subject)

    @exposes(contract.PUT_CODE_TABLE, session=False)
    def put_code_table(self, call: Call) -> Mapping[str, Any]:
        """Replace a code table."""
        runtime = call.runtime
        return gaps.put(runtime.db, runtime.keyring, call.request, by=call.subject, keep=call.keep)
