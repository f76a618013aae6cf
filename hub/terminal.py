"""How a verb speaks: a line for people or one JSON document, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from hub import chinese
from hub.trouble import Trouble

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
P = ParamSpec("P")
MOST_COLUMNS = 10_000

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def verb(body: Callable[P, int]) -> Callable[P, None]:
    """Make a verb of a function that returns the exit code: trouble becomes two lines, or one JSON document."""

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = body(*args, **kwargs)
        except Trouble as trouble:
            in_chinese = chinese.of(trouble)
            if kwargs.get("as_json"):
                print_json({"ok": False, "problem": trouble.problem, "remedy": trouble.remedy, "zh-CN": in_chinese,
                            **trouble.named})
            else:
                err.print(f"[red]hub:[/] {plain(trouble.problem)}: {plain(trouble.remedy)}", soft_wrap=True)
                err.print(f"     {plain(in_chinese['problem'])}：{plain(in_chinese['remedy'])}", soft_wrap=True)
                for line in _lines(trouble.named):
                    err.print(f"  {plain(line)}", soft_wrap=True)
            code = 1
        raise typer.Exit(code)

    return run


def _lines(named: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a refusal names: each field, each gap, then each other fact."""
    details = dict(named.get("details") or {})
    for one in (*named.get("errors", ()), *details.pop("gaps", ())):
        where = one.get("pointer") or one.get("field", "")
        line = f", line {one['line']}, column {one['column']}" if "line" in one else ""
        yield f"{where}{line}: {one.get('message', '')}"
    for name, value in details.items():
        yield f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def pairs(given: list[str] | None, example: str) -> list[tuple[str, str]]:
    """Return name and value of each option that is written NAME=VALUE.

    Raises:
        Trouble: one is not.
    """
    parted = [one.partition("=") for one in given or ()]
    if lacking := [name for name, equals, _value in parted if not equals]:
        raise Trouble(f"{lacking[0]!r} is no NAME=VALUE", f"write it as {example}")
    return [(name, value) for name, _equals, value in parted]


def plain(text: str) -> str:
    """Keep brackets from being read as markup."""
    return text.replace("[", r"\[")


def print_table(table: Table) -> None:
    """Print a table as wide as it is: an id that is cut off cannot be copied, nor read by the next program."""
    width = Measurement.get(out, out.options.update(max_width=MOST_COLUMNS), table).maximum
    Console(highlight=False, width=max(width, out.width)).print(table)


def answer(said: Mapping[str, Any], *lines: str, as_json: bool) -> int:
    """Print what was answered as one JSON document, or what it comes to in lines; return the exit code of success."""
    if as_json:
        print_json({"ok": True, **said})
    else:
        out.print("\n".join(lines), soft_wrap=True)
    return 0


def print_json(document: Any) -> None:
    """Print a document to standard output."""
    out.print_json(json.dumps(document, default=str))
