"""Statements that are built once and given their values each time: building one can cost ten times its run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from functools import cache, wraps
from operator import eq
from typing import Any, ParamSpec, TypeAlias, TypeVar, TypeVarTuple, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
S = TypeVar("S", bound=sa.Executable)
Asked: TypeAlias = "sa.Select[*tuple[Any, ...]]"
"""A query that is not run yet, so that a test can look at its plan."""
GIVEN = "given_"
"""Begins the name of every bound parameter: in an UPDATE none may be called like a column."""


def built_once(build: Callable[P, S]) -> Callable[P, tuple[S, dict[str, Any]]]:
    """Turn a function that builds a statement into one that returns it, built before, with the values to run it with.

    The result is for `session.execute(*asked(...))`. When `build` runs, each positional parameter is a bound parameter,
    so it may only appear in the statement; a collection for `IN` is given as a list. Keyword-only parameters are
    themselves: they are the shape, and each shape is a statement of its own.
    """
    keys = [GIVEN + name for name, parameter in inspect.signature(build).parameters.items()
            if parameter.kind is not parameter.KEYWORD_ONLY]

    @cache
    def built(**shape: Any) -> Any:
        return cast("Any", build)(*(sa.bindparam(key) for key in keys), **shape)

    @wraps(build)
    def asked(*values: P.args, **shape: P.kwargs) -> tuple[S, dict[str, Any]]:
        return cast("Any", built)(**shape), dict(zip(keys, values, strict=True))

    return asked


def locking(query: sa.Select[*Ts], *, key_share: bool = False) -> sa.Select[*Ts]:
    """Return a query of objects that locks what it finds, and reads it as it is then, whatever the session had read."""
    return query.with_for_update(key_share=key_share).execution_options(populate_existing=True)


def table_of(model: Any) -> sa.Table:
    """Return the table of a model: a statement on it runs without the ORM's share."""
    return cast("sa.Table", model.__table__)


def unindexed(column: Any) -> sa.ColumnElement[str]:
    """Return `column` so that no planner walks the whole history of a lane for its sake: what waits is one row."""
    return column.concat(sa.literal_column("''"))  # type: ignore[no-any-return]


class OfMost(FunctionElement[Any]):
    """A condition that holds of nearly all rows, as far as SQLite has to know.

    Without statistics it takes any `state = ...` to leave ten rows, and would walk along all that it does leave.
    """

    type = sa.types.NullType()  # a boolean is written `... = 1` there, and no index has it in these words
    inherit_cache = True


@compiles(OfMost)
def _as_it_is(element: OfMost, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(OfMost, "sqlite")
def _likely(element: OfMost, compiler: SQLCompiler, **options: Any) -> str:
    return f"likely({compiler.process(element.clauses, **options)})"


def of_keys(query: sa.Select[*Ts], columns: Sequence[sa.ColumnElement[Any]], given: Sequence[Any], *,
            apart: bool) -> sa.Select[*Ts]:
    """Return `query` of those rows alone whose `columns` are one of the keys that `keys_of` gives.

    For `(a, b) IN ...` SQLite finds no index, so there it is `a IN ... AND b IN ...`, and what other pairs of the same
    values find is left to the caller. PostgreSQL looks each key up by itself, and `OFFSET` keeps it from making a join
    of that: as long as it has no statistics, of a new table or of one that was restored, it takes all that waits to be
    six rows, and would walk along a million of them.
    """
    if apart:
        return query.where(*(column.in_(values) for column, values in zip(columns, given, strict=True)))
    keys = sa.func.unnest(*(sa.cast(values, ARRAY(sa.Text)) for values in given)).table_valued(
        *(f"key_{n}" for n in range(len(columns)))).render_derived()
    found = query.where(*map(eq, columns, keys.c)).offset(sa.literal_column("0")).lateral()
    return cast("sa.Select[*Ts]", sa.select(*found.c).select_from(keys.join(found, sa.true())))


def keys_of(session: Session, keys: Collection[tuple[str, ...]]) -> tuple[list[list[str]], bool]:
    """Return the values of each column of some keys, and whether they are looked up apart."""
    apart = len(keys) == 1 or session.get_bind().dialect.name == "sqlite"  # of one key every column is plainly equal
    columns = zip(*sorted(keys), strict=True)  # two such statements lock what both find in one order
    return [sorted(set(values)) if apart else list(values) for values in columns], apart
