"""JMESPath over our records: which fields an expression names, and evaluation whose time and size are bounded.

JMESPath has no loops, but a pipe of multi-selects doubles its value with every few characters, and `join` multiplies
two lengths. So each step is counted together with the values that it yields, up to `WORK` for all that is made of one
record, and each text that is made, and what comes out at last, may have `MOST_CHARACTERS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jmespath import exceptions, functions
from jmespath.parser import Parser
from jmespath.visitor import Options, TreeInterpreter

Schema = Mapping[str, Any]
"""A JSON Schema (2020-12); an empty one says nothing."""
Codes = Callable[[str, str], Any]
"""(table, our code) → theirs; raises `UnmappedCode`."""

LONGEST = 1000
"""Characters of an expression."""
WORK = 200_000
"""Steps over one record, and values yielded by them: tens of milliseconds. An order of 500 lines takes a tenth."""
MOST_CHARACTERS = 1_000_000
_TOO_MUCH = "it takes more work, or yields more, than a record needs"
ANY: Schema = {}
_HIDDEN: Schema = {"sensitive": True}
"""Of any shape, and made of a sensitive field."""


class ExpressionError(ValueError):
    """An expression cannot be read, or not be evaluated; `offset` is the character, from 0, if it is known."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


class UnknownName(ExpressionError):
    """An expression names a field that the record does not have."""


class SensitiveLookup(ExpressionError):
    """An expression looks up what may be a sensitive value as a code: codes are shown in previews, gaps and errors."""


class UnmappedCode(ExpressionError):
    """A code of ours has no counterpart in a connection's table."""

    def __init__(self, table: str, code: str) -> None:
        super().__init__(f"the code {code!r} is not in the code table {table!r}")
        self.table, self.code = table, code


@dataclass
class Budget:
    """The work that is left for one record."""

    left: int = WORK


@dataclass(frozen=True)
class Expression:
    """One expression, parsed."""

    text: str
    tree: Any

    def value(self, record: Mapping[str, Any], codes: Codes, budget: Budget | None = None) -> Any:
        """Evaluate it.

        Raises:
            UnmappedCode: it looks up a code that its table does not have.
            ExpressionError: a function was given what it does not take, the work is beyond bounds, or what comes out
                is no JSON.
        """
        try:
            return _finite(_bearable(_Bounded(codes, budget or Budget()).visit(self.tree, record)))
        except ExpressionError:
            raise
        except exceptions.JMESPathTypeError as error:
            # Not its own words: they repeat the value, and errors go where values may not.
            raise ExpressionError(f"{error.function_name}() takes {' or '.join(error.expected_types)}, "
                                  f"not {error.actual_type}") from None
        except exceptions.JMESPathError as error:
            raise ExpressionError(_first_line(error)) from None
        except RecursionError:
            raise ExpressionError("it is nested too deeply") from None
        except (TypeError, ValueError, ArithmeticError, LookupError):
            # JMESPath's functions look at the types of their arguments, not at what is in them: ceil() of infinity.
            raise ExpressionError("it cannot be evaluated for this record") from None


@lru_cache(maxsize=2048)
def parse(text: str) -> Expression:
    """Read an expression.

    Raises:
        ExpressionError: it is not JMESPath, or too long.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression has at most {LONGEST} characters")
    try:
        expression = Expression(text, Parser().parse(text).parsed)
    except exceptions.ParseError as error:
        where = getattr(error, "lex_position", None)
        raise ExpressionError(f"it is not JMESPath: {_first_line(error)}", where or 0) from error
    except exceptions.JMESPathError as error:
        raise ExpressionError(f"it is not JMESPath: {_first_line(error)}") from error
    except RecursionError as error:
        raise ExpressionError("it is nested too deeply") from error
    if any(node["type"] == "slice" and node["children"][2] == 0 for node in _nodes(expression.tree)):
        raise ExpressionError("a slice cannot go in steps of 0")
    return expression


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].removesuffix(", for expression:")


# --- evaluating ---------------------------------------------------------------------------------------------------


class _Functions(functions.Functions):  # type: ignore[misc]
    """JMESPath's own functions, and `code`."""

    def __init__(self, codes: Codes) -> None:
        self._codes = codes

    @functions.signature({"types": ["string"]}, {"types": ["string", "null"]})  # type: ignore[untyped-decorator]
    def _func_code(self, table: str, code: str | None) -> Any:
        return self._codes(table, code) if code else None

    @functions.signature({"types": ["string"]}, {"types": ["array-string"]})  # type: ignore[untyped-decorator]
    def _func_join(self, separator: str, texts: list[str]) -> str:
        if len(separator) * len(texts) + sum(map(len, texts)) > MOST_CHARACTERS:
            raise ExpressionError(_TOO_MUCH)
        return separator.join(texts)

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_to_string(self, value: Any) -> Any:
        return super()._func_to_string(_bearable(value))


class _Bounded(TreeInterpreter):  # type: ignore[misc]
    """Evaluates one expression once, and stops when the budget is used up."""

    def __init__(self, codes: Codes, budget: Budget) -> None:
        super().__init__(Options(custom_functions=_Functions(codes)))
        self._budget = budget

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        value = super().visit(node, *args, **kwargs)
        self._budget.left = _spent(value, self._budget.left - 1, list | dict)
        if self._budget.left <= 0:
            raise ExpressionError(_TOO_MUCH)
        return value


def _bearable(value: Any) -> Any:
    """Return the value, unless it holds more than `MOST_CHARACTERS`."""
    if _spent(value, MOST_CHARACTERS, str | list | dict) <= 0:
        raise ExpressionError(_TOO_MUCH)
    return value


def _finite(value: Any) -> Any:
    """Return the value, unless it holds a number that JSON does not have: `to_number` reads `inf` and `nan` too."""
    waiting = [("", value)]
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, float) and not math.isfinite(one):
            raise ExpressionError(f"{place or 'what it yields'} is infinite or no number, which JSON does not have")
        if isinstance(one, list | dict):
            inner = enumerate(one) if isinstance(one, list) else one.items()
            waiting += [(f"{place}/{step}", each) for step, each in inner]
    return value


def _spent(value: Any, left: int, counted: Any) -> int:
    """Return what is left once the lengths of `value`, and of all that is in it, are taken away; it stops at 0."""
    waiting = [value]
    while waiting and left > 0:
        one = waiting.pop()
        if isinstance(one, counted):
            left -= len(one)
            if left > 0 and not isinstance(one, str):
                waiting += one if isinstance(one, list) else one.values()
    return left


# --- names --------------------------------------------------------------------------------------------------------

_TYPES = {"number": ("abs", "avg", "ceil", "floor", "length", "sum", "to_number"),
          "string": ("join", "to_string", "type"), "boolean": ("contains", "ends_with", "starts_with")}
_YIELDS: Mapping[str, Schema] = {name: {"type": kind} for kind, names in _TYPES.items() for name in names}
_SAME_AS_ARGUMENT = {"reverse": 0, "sort": 0, "sort_by": 0}
_ELEMENT_OF_ARGUMENT = {"max_by": 0, "min_by": 0, "max": 0, "min": 0}
_OVER = {"sort_by": 0, "max_by": 0, "min_by": 0, "map": 1}
"""Function → which of its arguments is the list over whose elements the other one goes."""


def is_true(value: Any) -> bool:
    """Tell whether a value counts as true, as JMESPath has it: 0 does, what is empty does not."""
    return not (value is None or value is False or (isinstance(value, (str, list, dict)) and not value))


def require_names(expression: Expression, schema: Schema) -> None:
    """Follow an expression through every branch.

    Raises:
        UnknownName: somewhere it names a field that is not in `schema`.
        SensitiveLookup: it looks up a code that is made of a sensitive field.
        ExpressionError: it calls a function that is not there.
    """
    shape_of(expression, schema)


def shape_of(expression: Expression, schema: Schema) -> Schema:
    """Return the schema of what an expression yields of a record of `schema`, as far as it is known.

    Raises:
        ExpressionError: as `require_names`.
    """
    try:
        return _shape(expression.tree, schema, expression.text)
    except RecursionError:
        raise ExpressionError("it is nested too deeply") from None


def is_sensitive(schema: Schema) -> bool:
    """Tell whether a value of `schema` is, has, or is made of a sensitive field."""
    if "sensitive" in schema:
        return bool(schema["sensitive"])
    inner = (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties"))
    return any(is_sensitive(one) for one in inner if isinstance(one, Mapping))


def part_of(schema: Schema, name: str) -> Schema:
    """Return the schema of what stands under a name in a value of `schema`; `ANY` where nothing does."""
    return schema["properties"].get(name, ANY) if "properties" in schema else _made_of(schema)


def items_of(schema: Schema) -> Schema:
    """Return the schema of the elements of a value of `schema`."""
    items: Schema = schema["items"] if "items" in schema else _made_of(schema)
    return items


def _made_of(*schemas: Schema) -> Schema:
    return _HIDDEN if any(map(is_sensitive, schemas)) else ANY


def _made(kind: str, parts: Iterable[Schema], **inner: Any) -> Schema:
    """Return the schema of what an expression makes; a pipe of these doubles, so whether it is sensitive is kept."""
    return {"type": kind, "sensitive": any(map(is_sensitive, parts)), **inner}


def _same(one: Schema, other: Schema) -> bool:
    return one is other or ("sensitive" not in one and one == other)


def tables_of(expression: Expression) -> set[str]:
    """Return the code tables that an expression looks up."""
    found = set()
    for node in _nodes(expression.tree):
        if node["type"] == "function_expression" and node["value"] == "code" and node["children"]:
            name = node["children"][0]
            if name["type"] != "literal" or not isinstance(name["value"], str):
                raise ExpressionError("the table of `code` has to be named: code('taxes', tax_code)")
            found.add(name["value"])
    return found


def _nodes(tree: Any) -> Iterable[Any]:
    """Yield every node; the children of a slice are none, but numbers."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [child for child in node["children"] if isinstance(child, dict)]


def _shape(node: Any, schema: Schema, text: str) -> Schema:
    """Return the schema of what a node yields of a value of `schema`."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        return _field(node["value"], schema, text)
    if kind in ("subexpression", "pipe", "index_expression"):
        for child in children:
            schema = _shape(child, schema, text)
        return schema
    if kind == "index":
        return items_of(schema)
    if kind in ("projection", "value_projection", "filter_projection"):
        return _projected(node, schema, text)
    if kind == "flatten":
        inner = _shape(children[0], schema, text)
        deeper = items_of(inner)
        return deeper if deeper.get("type") == "array" else inner
    if kind == "function_expression":
        return _called(node, schema, text)
    if kind in ("current", "identity", "slice"):
        return schema
    inner_shapes = [_shape(child, schema, text) for child in children]
    if kind == "multi_select_dict":
        names = [pair["value"] for pair in children]
        return _made("object", inner_shapes, properties=dict(zip(names, inner_shapes, strict=True)))
    if kind == "key_val_pair":
        return inner_shapes[0]
    if kind in ("or_expression", "and_expression") and _same(*inner_shapes):
        return inner_shapes[0]
    return _made_of(*inner_shapes)


def _field(name: str, schema: Schema, text: str) -> Schema:
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    if schema in (ANY, _HIDDEN) or (properties is None and others in (None, True) and "object" in _types(schema)):
        return _made_of(schema)
    if properties is not None and name in properties:
        found: Schema = properties[name]
        return found
    if isinstance(others, Mapping):
        return others
    known = f"it has {', '.join(sorted(properties))}" if properties else "it has no fields"
    raise UnknownName(f"there is no field {name!r} here: {known}", _offset(name, text))


def _offset(name: str, text: str) -> int:
    found = re.search(rf"\b{re.escape(name)}\b", text)
    return found.start() if found else 0


def _types(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _projected(node: Any, schema: Schema, text: str) -> Schema:
    source = _shape(node["children"][0], schema, text)
    if node["type"] == "value_projection":
        others = source.get("additionalProperties")
        element = others if isinstance(others, Mapping) else _made_of(source)
    else:
        element = items_of(source)
    for condition in node["children"][2:]:
        _shape(condition, element, text)
    each = _shape(node["children"][1], element, text)
    return _made("array", [each], items=each)


def _called(node: Any, schema: Schema, text: str) -> Schema:
    name, children = node["value"], node["children"]
    if name not in _Functions.FUNCTION_TABLE:
        raise ExpressionError(f"there is no function {name!r}", _offset(name, text))
    plain = {n: _shape(child, schema, text) for n, child in enumerate(children) if child["type"] != "expref"}
    element = items_of(plain.get(_OVER.get(name, -1), ANY))
    over = [_shape(child["children"][0], element, text) for child in children if child["type"] == "expref"]
    if name == "code" and is_sensitive(plain.get(1, ANY)):
        raise SensitiveLookup("code() cannot look up what is made of a sensitive field", _offset(name, text))
    if name == "map":
        return _made("array", over, items=over[0] if over else ANY)
    if name in _SAME_AS_ARGUMENT:
        return plain.get(_SAME_AS_ARGUMENT[name], ANY)
    if name in _ELEMENT_OF_ARGUMENT:
        return items_of(plain.get(_ELEMENT_OF_ARGUMENT[name], ANY))
    return {**_YIELDS.get(name, ANY), **_made_of(*plain.values(), *over)}
