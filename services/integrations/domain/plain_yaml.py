"""YAML as its readers take it: YAML 1.2's own plain values, no aliases, no tags, no key twice; and where each value is.

PyYAML reads YAML 1.1, in which NO is false, 012 is ten and 12:30 is 750: a table of countries or times would be another
one than is written. Aliases are refused because a few lines of them can stand for gigabytes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import yaml

LONGEST = 50_000
"""Characters of a text."""
DEEPEST = 20


@dataclass(frozen=True)
class Place:
    """Where something is: `line` and `column` count from 1, `pointer` (RFC 6901) leads through the values."""

    line: int
    column: int
    pointer: str


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a text, and where."""

    place: Place
    code: str
    message: str


class Faulty(ValueError):
    """A text cannot be used; `faults` names everything that is wrong with it."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = faults


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2, and nothing that JSON does not have."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's way)


for _tag, _pattern, _first in (
    ("null", r"|~|null", "~n"),
    ("bool", "true|false", "tf"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", "-+0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"),
                                  [*_first, *([""] if _tag == "null" else [])])


@dataclass(frozen=True)
class Document:
    """What a text says, and the place of each of its values, by pointer."""

    value: Any
    places: dict[str, Place]

    def place(self, pointer: str) -> Place:
        """Return where the value is, or that which it would be in."""
        while pointer not in self.places:
            pointer = pointer.rpartition("/")[0]
        return self.places[pointer]


def read(text: str) -> Document:
    """Read a text.

    Raises:
        Faulty: it is not YAML, or more than JSON could say.
    """
    if len(text) > LONGEST:
        raise Faulty(Fault(Place(1, 1, ""), "too_long", f"A text has at most {LONGEST} characters."))
    places: dict[str, Place] = {}
    loader = _Loader(text)
    try:
        _refuse_aliases(text)
        node = loader.get_single_node()
        value = None if node is None else _value(loader, node, "", places)
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark or error.context_mark, "")
        raise Faulty(Fault(place, "syntax", f"This is not YAML: {error.problem}.")) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise Faulty(Fault(Place(1, 1, ""), "syntax", f"This is not YAML: {error}.")) from error
    finally:
        loader.dispose()
    places.setdefault("", Place(1, 1, ""))
    return Document(value, places)


def _refuse_aliases(text: str) -> None:
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise Faulty(Fault(_place(event.start_mark, ""), "alias",
                               "Aliases (`*name`) are not read: write the value out."))


def _value(loader: _Loader, node: yaml.Node, pointer: str, places: dict[str, Place]) -> Any:
    place = places[pointer] = _place(node.start_mark, pointer)
    if pointer.count("/") > DEEPEST:
        raise Faulty(Fault(place, "too_deep", f"Values lie at most {DEEPEST} deep."))
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, f"{pointer}/{n}", places) for n, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        if node.tag.rpartition(":")[2] not in ("str", "null", "bool", "int", "float"):
            raise Faulty(Fault(place, "tag", f"The tag {node.tag} is not read."))
        return _scalar(loader, node, place)
    entries: dict[str, Any] = {}
    for key_node, value_node in node.value:
        name = _name(loader, key_node, pointer)
        step = name.replace("~", "~0").replace("/", "~1")
        if name in entries:
            raise Faulty(Fault(_place(key_node.start_mark, f"{pointer}/{step}"), "twice",
                               f"{name!r} stands here twice."))
        entries[name] = _value(loader, value_node, f"{pointer}/{step}", places)
    return entries


def _scalar(loader: _Loader, node: yaml.Node, place: Place) -> Any:
    try:
        value = loader.construct_object(node)
    except (ValueError, LookupError):  # PyYAML's own readers of a number, or of a value whose tag is written out
        raise Faulty(Fault(place, "type", f"This cannot be read as {node.tag.rpartition(':')[2]}.")) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise Faulty(Fault(place, "type", "This is more than a number can be."))
    return value


def _place(mark: Any, pointer: str) -> Place:
    return Place(mark.line + 1, mark.column + 1, pointer) if mark else Place(1, 1, pointer)


def _name(loader: _Loader, node: yaml.Node, pointer: str) -> str:
    place = _place(node.start_mark, pointer)
    name = _scalar(loader, node, place) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(name, str):
        return name
    raise Faulty(Fault(place, "name", "A name has to be text: put it in quotes."))
