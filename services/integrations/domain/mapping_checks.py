"""Whether a mapping can work: what it names is there, on both sides, and it yields what the target takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from services.integrations.domain import canonical, expressions
from services.integrations.domain.expressions import Budget, ExpressionError, SensitiveLookup
from services.integrations.domain.mapping import Mapping as RecordMapping
from services.integrations.domain.mapping import Rule, Unmappable, pointer_of
from services.integrations.domain.plain_yaml import Fault, Faulty

Json = Mapping[str, Any]
Tables = Mapping[str, Mapping[str, Any]]
"""Table → our code → theirs."""


class _Unknown(Exception):
    """A look-up of which nobody knows yet what it yields: its table is empty."""


def require_sound(mapping: RecordMapping, source: Json, target: Json | None, tables: Tables,
                  records: Iterable[Json] = ()) -> None:
    """Check a mapping.

    Args:
        mapping: what was read.
        source: JSON Schema of our record.
        target: JSON Schema of what the target takes; None if its adapter does not say.
        tables: the code tables of the connection, as far as there are any.
        records: real ones to try it on, beside made-up ones.

    Raises:
        Faulty: with everything that is wrong, each with its place.
    """
    faults = [fault for rule in mapping.rules for fault in _names(mapping, rule, source, target)]
    if target is not None:
        given = {rule.target for rule in mapping.rules if not rule.only_on_create}
        for name in target.get("required", ()):
            if name not in given:
                faults.append(Fault(mapping.document.place(pointer_of(name)), "required",
                                    f"The target needs `{name}` with every change, and nothing fills it."))
    if not faults:
        tried = [(record, Budget()) for record in (*canonical.examples(source), *records)]
        faults += [fault for rule in mapping.rules
                   if (fault := _wrong_type(mapping, rule, _schema(target, rule), tables, tried))]
    if faults:
        raise Faulty(*faults)


def sensitive_lookups(mapping: RecordMapping, source: Json, target: Json | None) -> list[Fault]:
    """Return where a mapping looks up as a code what is made of a sensitive field. Once such a mapping was saved."""
    return [fault for rule in mapping.rules for fault in _names(mapping, rule, source, target)
            if fault.code == "sensitive"]


def _names(mapping: RecordMapping, rule: Rule, source: Json, target: Json | None) -> Iterator[Fault]:
    pointer = pointer_of(rule.target)
    if target is not None and rule.target not in target.get("properties", {}):
        known = ", ".join(sorted(target.get("properties", {})))
        yield Fault(mapping.document.place(pointer), "unknown_target",
                    f"The target takes no `{rule.target}`; it takes: {known}.")
    if rule.source is None:
        return
    place = mapping.document.place(f"{pointer}/from")
    try:
        shape = expressions.shape_of(rule.source, source)
    except ExpressionError as error:
        yield Fault(place, "sensitive" if isinstance(error, SensitiveLookup) else "unknown_source",
                    f"{rule.source.text!r}, character {error.offset + 1}: {error}.")
    else:
        if _looks_up_sensitive(_schema(target, rule), shape):
            yield Fault(place, "sensitive", f"The target looks up codes in `{rule.target}`, and "
                                            f"{rule.source.text!r} makes them of a sensitive field.")


def _looks_up_sensitive(schema: Json, shape: Json) -> bool:
    """Tell whether a target looks up, as a code, what is made of a sensitive field: codes are shown, as by `code`."""
    if "codeTable" in schema:
        return expressions.is_sensitive(shape)
    return any(_looks_up_sensitive(inner, expressions.part_of(shape, name))
               for name, inner in schema.get("properties", {}).items()) or (
        "items" in schema and _looks_up_sensitive(schema["items"], expressions.items_of(shape)))


def _schema(target: Json | None, rule: Rule) -> Json:
    found: Json = {} if target is None else target.get("properties", {}).get(rule.target, {})
    return found


def _wrong_type(mapping: RecordMapping, rule: Rule, schema: Json, tables: Tables,
                records: Iterable[tuple[Json, Budget]]) -> Fault | None:
    """Return the first value, of any record, that the target does not take. It is told by its kind, not shown."""

    def codes(table: str, code: str) -> Any:
        known = tables.get(table, {})
        if not known:
            raise _Unknown
        return known.get(code, next(iter(known.values())))

    place = mapping.document.place(pointer_of(rule.target))
    validator = Draft202012Validator(dict(schema))
    for record, budget in records:
        try:
            value = rule.filled(record, codes, budget)
        except _Unknown:
            continue
        except Unmappable as error:
            if isinstance(error.__cause__, ExpressionError):
                return Fault(place, "expression", f"`{rule.target}` cannot be evaluated: {error}.")
            continue
        for wrong in validator.iter_errors(value):
            where = "".join(f"/{step}" for step in wrong.absolute_path)
            advice = "; give a `default`, or make it `required`" if value is None else ""
            return Fault(place, "type", f"`{rule.target}{where}` would be {_kind(wrong.instance)}, and the target "
                                        f"asks for {wrong.validator} {wrong.validator_value}{advice}.")
    return None


def _kind(value: Any) -> str:
    kinds = ((type(None), "null"), (bool, "a boolean"), (int | float, "a number"), (str, "a text"), (list, "an array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "an object")
