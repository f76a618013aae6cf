"""A mapping: what a target is sent of a record, field by field, as declared in YAML.

    fields:
      name: name                                  # an expression (JMESPath) over our record
      phone: {from: phone, required: true}        # without a phone the record is refused, not sent
      payment_term: {from: "code('payment_terms', level)", default: 3}
      language: {value: zh}                       # a constant
      group: {from: source, only_on_create: true} # later it is left as it stands there

It is read once and never changes. What a mapping says is checked in `domain/mapping_checks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

from services.integrations.domain import expressions, plain_yaml
from services.integrations.domain.expressions import Budget, Codes, Expression, ExpressionError
from services.integrations.domain.plain_yaml import Document, Fault, Faulty

ALWAYS = frozenset({"consent"})
"""What goes with a record as it is, if it has it: it decides whether the record goes at all."""
MOST_FIELDS = 200
_RULE = frozenset({"from", "value", "default", "required", "only_on_create"})
_NOTHING = object()


class Unmappable(Exception):
    """A record cannot be sent; `field` is the target field that could not be filled."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one target field is filled.

    Attributes:
        source: over our record; None for a constant.
        value: the constant.
        default: instead of null; `has_default` tells it from a default of null.
        required: whether a record for which it stays null is refused.
        only_on_create: whether it is left as it stands there once the record is bound.
    """

    target: str
    source: Expression | None = None
    value: Any = None
    default: Any = None
    has_default: bool = False
    required: bool = False
    only_on_create: bool = False

    def filled(self, record: Map[str, Any], codes: Codes, budget: Budget) -> Any:
        """Return the field's value.

        Raises:
            Unmappable: there is none, or a code of ours has no counterpart there.
        """
        try:
            value = self.value if self.source is None else self.source.value(record, codes, budget)
        except ExpressionError as error:
            raise Unmappable(self.target, str(error)) from error
        if value is None and self.has_default:
            value = self.default
        if value is None and self.required:
            raise Unmappable(self.target, "it is required there, and this record has nothing for it")
        return value


@dataclass(frozen=True)
class Mapping:
    """All rules of one mapping, and the text they were read from."""

    rules: tuple[Rule, ...]
    document: Document

    @property
    def once(self) -> frozenset[str]:
        """The target fields that are sent only when a record is made there."""
        return frozenset(rule.target for rule in self.rules if rule.only_on_create)

    @property
    def tables(self) -> frozenset[str]:
        """The code tables that its expressions look up."""
        sources = [rule.source for rule in self.rules if rule.source is not None]
        return frozenset(name for source in sources for name in expressions.tables_of(source))

    def sensitive(self, source: expressions.Schema) -> list[str]:
        """Return the target fields that are, or may be, made of a sensitive field of our records, by name.

        Args:
            source: JSON Schema of our record.
        """
        return sorted(rule.target for rule in self.rules if rule.source is not None and _may_show(rule.source, source))

    def body(self, record: Map[str, Any], codes: Codes, *, creating: bool = True) -> dict[str, Any]:
        """Return what the target is sent of a record.

        Raises:
            Unmappable: a field cannot be filled.
        """
        kept, budget = {name: record[name] for name in ALWAYS if name in record}, Budget()
        return kept | {rule.target: rule.filled(record, codes, budget) for rule in self.rules
                       if creating or not rule.only_on_create}


def read(text: str) -> Mapping:
    """Read a mapping.

    Raises:
        Faulty: with everything that is wrong with its form, each with its place.
    """
    document = plain_yaml.read(text)
    faults: list[Fault] = []
    rules = [_rule(name, said, document, faults) for name, said in _entries(document).items()]
    if faults:
        raise Faulty(*faults)
    return Mapping(tuple(rule for rule in rules if rule is not None), document)


def _entries(document: Document) -> dict[str, Any]:
    said = document.value
    if not isinstance(said, dict) or said.keys() != {"fields"} or not isinstance(said["fields"], dict):
        strange = next(iter(said.keys() - {"fields"}), None) if isinstance(said, dict) else None
        pointer = f"/{strange}" if strange is not None else ""
        raise Faulty(Fault(document.place(pointer), "shape", "A mapping is `fields:` with an entry for each target "
                                                             "field, and nothing beside it."))
    entries: dict[str, Any] = said["fields"]
    if not 0 < len(entries) <= MOST_FIELDS:
        raise Faulty(Fault(document.place("/fields"), "shape", f"A mapping has 1 to {MOST_FIELDS} fields."))
    return entries


def _rule(name: str, said: Any, document: Document, faults: list[Fault]) -> Rule | None:
    pointer = pointer_of(name)
    if isinstance(said, str):
        said, at = {"from": said}, pointer
    else:
        at = f"{pointer}/from"
    found = len(faults)
    if name in ALWAYS:
        faults.append(Fault(document.place(pointer), "not_mapped", f"`{name}` goes as it is, and is not mapped."))
    if not isinstance(said, dict) or ("from" in said) == ("value" in said):
        faults.append(Fault(document.place(pointer), "shape",
                            "A field is an expression, or has either `from` or `value`."))
        return None
    for key in said.keys() - _RULE:
        faults.append(Fault(document.place(f"{pointer}/{key}"), "unknown_field",
                            f"`{key}` is not known; there are: {', '.join(sorted(_RULE))}."))
    for key in ("required", "only_on_create"):
        if not isinstance(said.get(key, False), bool):
            faults.append(Fault(document.place(f"{pointer}/{key}"), "type", f"`{key}` is true or false."))
    source = _source(said, at, document, faults) if "from" in said else None
    if len(faults) > found:
        return None
    default = said.get("default", _NOTHING)
    return Rule(target=name, source=source, value=said.get("value"), has_default=default is not _NOTHING,
                default=None if default is _NOTHING else default, required=said.get("required", False),
                only_on_create=said.get("only_on_create", False))


def _source(said: Map[str, Any], pointer: str, document: Document, faults: list[Fault]) -> Expression | None:
    text = said["from"]
    if not isinstance(text, str):
        faults.append(Fault(document.place(pointer), "type", "`from` is an expression: text, in quotes if need be."))
        return None
    try:
        source = expressions.parse(text)
        expressions.tables_of(source)
    except ExpressionError as error:
        faults.append(Fault(document.place(pointer), "expression", f"{text!r}, character {error.offset + 1}: {error}."))
        return None
    return source


def _may_show(expression: Expression, source: expressions.Schema) -> bool:
    try:
        return expressions.is_sensitive(expressions.shape_of(expression, source))
    except ExpressionError:
        return True


def pointer_of(target: str) -> str:
    """Return where in a mapping the rule of a target field stands."""
    return "/fields/" + target.replace("~", "~0").replace("/", "~1")
