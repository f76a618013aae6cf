"""The database of one service: SQLite in a file, or PostgreSQL, behind the same two verbs.

`write()` opens a transaction that will change something, `read()` one that will not. Sessions never nest, and nothing
inside one may wait for anything but the database: no RPC, no publishing, no sleep.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
import uuid_utils
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import URL, Connection, Dialect, Engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

from contracts.errors import Unavailable

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraint names, so that migrations can name what they drop on both databases."""

CHASSIS = sa.MetaData(naming_convention=NAMING)
"""The tables that every service's database has: outbox, inbox, idempotency, data_key."""

Id = sa.String(36)
"""Column type of every record id."""

Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""Column type of plain JSON values."""


def ByteOrdered(length: int) -> sa.types.TypeEngine[str]:
    """Return a text type that sorts by code point on both databases, so that a range finds a prefix by its index."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


WAL_PAGES = 8000
"""Pages of SQLite's log (32 MB) after which a commit carries them into the database file. That commit takes
milliseconds, and what is written often, such as the end of an index, is carried over once for many commits: the 1000
that SQLite would wait for are thirty new customers."""

LOCK_TIMEOUT_S = 2.0
"""Seconds that a transaction waits for a lock before it gives up with `Unavailable`."""

_SQLITE_AWAY = ("locked", "busy", "unable to open", "disk i/o error", "full", "readonly")
CLOCK = "clock"
_in_session: ContextVar[bool] = ContextVar("in_session", default=False)


def new_id() -> str:
    """Return a new record id: UUIDv7 text, so that ids sort by time of creation (RFC 9562)."""
    return str(uuid_utils.uuid7())


def utcnow() -> dt.datetime:
    """Return the present instant, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware instant. PostgreSQL keeps `timestamptz`; SQLite keeps sortable ISO text in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Refuse a naive time: nobody could say later which zone it meant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("a time without a zone cannot be stored")
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Return the instant in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class ExactDecimal(TypeDecorator[Decimal]):
    """An exact amount with four decimals. SQLite has no decimal type, so it keeps whole ten-thousandths."""

    impl = sa.Numeric(18, 4)
    cache_ok = True
    _unit = Decimal("0.0001")

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Choose the integer form on SQLite, whose NUMERIC would silently become a float."""
        kind: sa.types.TypeEngine[Any] = sa.BigInteger() if dialect.name == "sqlite" else sa.Numeric(18, 4)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | int | None:
        """Refuse what would be rounded."""
        if value is None:
            return None
        exact = Decimal(value).quantize(self._unit)
        if exact != value:
            raise ValueError(f"{value} has more than four decimals")
        return int(exact / self._unit) if dialect.name == "sqlite" else exact

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the amount with the decimals it needs."""
        if value is None:
            return None
        amount = Decimal(value) * self._unit if dialect.name == "sqlite" else Decimal(value)
        return amount.quantize(self._unit)


def now_of(session: Session) -> dt.datetime:
    """Return the present instant by the clock that the session's database was given."""
    clock: Callable[[], dt.datetime] = session.info.get(CLOCK, utcnow)
    return clock()


def after_commit(session: Session, hook: Callable[[], None]) -> None:
    """Run `hook` once `session`'s transaction is committed; a rollback forgets it. Equal hooks run once."""
    hooks = session.info.setdefault("after_commit", [])
    if hook not in hooks:
        hooks.append(hook)


class Database:
    """A service's own database.

    Args:
        uri: `sqlite:///path` or `postgresql://user:password@host/name`.
        pool_size: PostgreSQL connections kept; at least the number of workers. SQLite always has one.
        info: put into every session's `info`, for what a model needs while it is being read (the keyring).
        clock: what time it is in its transactions (`now_of`).
    """

    def __init__(self, uri: str, *, pool_size: int = 10, info: dict[str, Any] | None = None,
                 clock: Callable[[], dt.datetime] = utcnow) -> None:
        self.url = make_url(uri)
        self.clock = clock
        self.info = {CLOCK: clock, **(info or {})}
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url, pool_size)
        self._yielding = _yielding(self.engine) if self.is_sqlite else self.engine

    @contextmanager
    def write(self, *, yielding: bool = False) -> Iterator[Session]:
        """Open a transaction that changes something; commit at the end, roll back on any error.

        Args:
            yielding: let others run after each statement, for what takes milliseconds while others have quick work to
                do. psycopg2 waits for each answer and does so anyway; SQLite answers on the spot, and never does.

        Raises:
            Unavailable: the database is away, or a lock was not had in time. Unless it went away during the commit,
                nothing was changed.
        """
        with self._session(self._yielding if yielding else self.engine, immediate=True) as session:
            yield session
            session.commit()
            hooks = session.info.get("after_commit", ())
        for hook in hooks:
            hook()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that only looks.

        Raises:
            Unavailable: the database is away.
        """
        with self._session(self.engine, immediate=False) as session:
            yield session

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _session(self, engine: Engine, *, immediate: bool) -> Iterator[Session]:
        if _in_session.get():
            raise RuntimeError("a session is open already in this call: with SQLite it would wait for ever")
        token = _in_session.set(True)
        try:
            with _as_unavailable(), engine.connect() as connection:
                if self.is_sqlite:
                    _begin_sqlite(connection, immediate=immediate)
                with Session(connection, expire_on_commit=False, info=dict(self.info),
                             join_transaction_mode="control_fully") as session:
                    yield session
        finally:
            _in_session.reset(token)


def _sqlite(url: URL) -> Engine:
    # One connection: a second writer in this process would block the whole event loop inside SQLite's busy handler,
    # and a shared connection (StaticPool) lets one call commit the half-done work of another.
    engine = sa.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=30, poolclass=sa.QueuePool,
                              connect_args={"timeout": 0.05, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"wal_autocheckpoint={WAL_PAGES}",
                       "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _yielding(engine: Engine) -> Engine:
    """Return an engine with the same connections whose statements let others run after them."""
    sharing = engine.execution_options()

    @event.listens_for(sharing, "after_cursor_execute")
    def let_others_run(*_: Any) -> None:
        time.sleep(0)

    return sharing


def _postgresql(url: URL, pool_size: int) -> Engine:
    timeouts = f"-c lock_timeout={int(LOCK_TIMEOUT_S * 1000)} -c statement_timeout=30000 -c timezone=UTC"
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg2"), pool_size=pool_size, max_overflow=0, pool_timeout=10,
        connect_args={"options": timeouts, "connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5},
    )


def _begin_sqlite(connection: Connection, *, immediate: bool) -> None:
    """Begin, waiting for another process's write without blocking this process's other calls."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    pause = 0.002
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
            return
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > deadline:
                raise
            connection.rollback()
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("Every database connection is in use", retry_after_s=2) from error
    except (OperationalError, InterfaceError) as error:
        if is_away(error):
            raise Unavailable("The database is away or locked", retry_after_s=2) from error
        raise


def is_up(db: Database) -> bool:
    """Tell whether the database answers."""
    try:
        with db.read() as session:
            session.execute(sa.text("SELECT 1"))
    except Unavailable:
        return False
    return True


def is_away(error: DBAPIError) -> bool:
    """Tell a database that cannot be reached or locked now from a statement that is wrong for ever.

    SQLite reports a missing table with the same class as a lock; PostgreSQL does not.
    """
    text = str(error.orig).lower()
    return any(sign in text for sign in _SQLITE_AWAY) if "sqlite3" in type(error.orig).__module__ else True
