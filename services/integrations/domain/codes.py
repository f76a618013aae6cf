"""Which codes of ours a record uses, and which of them a connection's tables lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from services.integrations.domain.expressions import UnmappedCode

Tables = Mapping[str, Mapping[str, Any]]
"""Table → our code → theirs."""


class Lookup:
    """Looks up codes in a connection's tables: what a mapping's `code` calls."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def __call__(self, table: str, code: str) -> Any:
        """Return their code.

        Raises:
            UnmappedCode: there is none.
        """
        found = self._tables.get(table, {}).get(code)
        if found is None:
            raise UnmappedCode(table, code)
        return found


class Gaps:
    """Looks up codes in the same way, goes on where there is none, and counts the records that want one."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._of_record: set[tuple[str, str]] = set()
        self.records: Counter[tuple[str, str]] = Counter()
        """(table, our code) → how many records use it."""
        self.looked_at, self.complete = 0, False
        """Records that were looked at, and whether those are all."""

    def __call__(self, table: str, code: str) -> Any:
        """Return their code; None where there is none, which is noted."""
        found = self._tables.get(table, {}).get(code)
        if found is None:
            self._of_record.add((table, code))
        return found

    def looked_up_by_target(self, schema: Mapping[str, Any], body: Any) -> None:
        """Look up what the adapter itself will: the values whose schema names a `codeTable`."""
        for table, code in used(schema, body):
            self(table, code)

    def next_record(self) -> None:
        """Count what the record before has noted."""
        self.looked_at += 1
        self.records.update(self._of_record)
        self._of_record.clear()


def used(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[str, str]]:
    """Yield (table, our code) for each code in a body; nothing for one that is empty."""
    if "codeTable" in schema and value not in (None, ""):
        yield schema["codeTable"], str(value)
    if isinstance(value, Mapping):
        for name, inner in schema.get("properties", {}).items():
            yield from used(inner, value.get(name))
    elif isinstance(value, list) and "items" in schema:
        for one in value:
            yield from used(schema["items"], one)
