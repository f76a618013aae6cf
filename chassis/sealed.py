"""Encrypted attributes of models.

    class Customer(Base):
        __tablename__ = "customer"
        id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
        phone = Sealed("phone", index=True, normalise=phone_e164)

declares the columns `phone_sealed` and `phone_index` and reads and writes like a plain attribute:

    customer = Customer(id=new_id(), phone="+86 138 0013 8000")
    session.execute(select(Customer).where(Customer.phone.equals(session, "13800138000")))

The keyring comes with the session (`Database(uri, info={KEYRING: keyring})`), so that several services can live in one
process. An object that is in no session yet holds its value in clear and is sealed when it is flushed; nothing clear
reaches the database, and reading an object that has left its session is an error that says so.

A sealed value is bound to table, column and row id: it does not open anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast, overload

from sqlalchemy import ColumnElement, String, Text, event, false
from sqlalchemy.orm import Mapper, Session, mapped_column, object_session

from chassis.crypto import Keyring
from chassis.database import new_id

KEYRING = "keyring"
"""The key of `Session.info` under which the service's `Keyring` is found."""


class KeyringMissing(RuntimeError):
    """A sealed attribute was read or written without a session that carries a keyring."""


def keyring_of(session: Session) -> Keyring:
    """Return the keyring that came with `session`.

    Raises:
        KeyringMissing: the session was made without one.
    """
    keyring = session.info.get(KEYRING)
    if keyring is None:
        raise KeyringMissing("this session carries no keyring: make it with Database(uri, info={KEYRING: keyring})")
    return cast(Keyring, keyring)


def _exactly(text: str) -> str:
    return text


class Sealed:
    """An attribute whose value is ciphertext in the table.

    Args:
        name: the attribute's name; columns are `<name>_sealed` and, with `index`, `<name>_index`.
        index: keep a blind index, so that rows can be found by equality. Equal values show equal indexes.
        normalise: brings a value into the one form under which it is indexed (E.164, lower case).
        unique: no two rows may hold equal values; needs `index`.
    """

    def __init__(
        self, name: str, *, index: bool = False, normalise: Callable[[str], str] = _exactly, unique: bool = False
    ) -> None:
        if unique and not index:
            raise ValueError("uniqueness is held by the blind index: set index=True")
        self.name = name
        self.indexed = index
        self._normalise = normalise
        self._unique = unique
        self._clear = f"_{name}_clear"
        self._owner: Any = None

    def __set_name__(self, owner: type, attribute: str) -> None:
        if attribute != self.name:
            raise TypeError(f"{owner.__name__}.{attribute} is declared as Sealed({self.name!r})")
        self._owner = owner
        setattr(owner, f"{self.name}_sealed", mapped_column(Text, nullable=True))
        if self.indexed:
            column = mapped_column(String(64), nullable=True, index=not self._unique, unique=self._unique or None)
            setattr(owner, f"{self.name}_index", column)
        owner.__sealed_attributes__ = (*getattr(owner, "__sealed_attributes__", ()), self)  # type: ignore[attr-defined]

    @property
    def column(self) -> str:
        """`table.column`: what the index key belongs to, for `Keyring.prepare`."""
        return f"{self._owner.__tablename__}.{self.name}"

    @overload
    def __get__(self, row: None, owner: type) -> Self: ...
    @overload
    def __get__(self, row: object, owner: type) -> str | None: ...
    def __get__(self, row: Any, owner: type) -> Self | str | None:
        if row is None:
            return self
        if self._clear in row.__dict__:
            return cast("str | None", row.__dict__[self._clear])
        sealed = getattr(row, f"{self.name}_sealed")
        return None if sealed is None else self._keyring(row).open(sealed, self._aad(row))

    def __set__(self, row: Any, value: str | None) -> None:
        if value and object_session(row) is None:
            row.__dict__[self._clear] = value
            return
        row.__dict__.pop(self._clear, None)
        self._put(row, value or None)

    def equals(self, session: Session, value: str) -> ColumnElement[bool]:
        """Return the condition that a row holds `value` (after normalisation); an empty value matches nothing.

        Raises:
            KeyringMissing: the session carries no keyring.
            Unavailable: the index key is not in memory and the database is away.
        """
        if not self.indexed:
            raise TypeError(f"{self.column} has no blind index")
        if not value:
            return false()
        blind = keyring_of(session).blind(self.column, self._normalise(value))
        return cast("ColumnElement[bool]", getattr(self._owner, f"{self.name}_index") == blind)

    def settle(self, row: Any) -> None:
        """Seal a value that was given before the row had a session. Called when the row is flushed."""
        if self._clear in row.__dict__:
            self._put(row, row.__dict__[self._clear])
            del row.__dict__[self._clear]

    def _put(self, row: Any, value: str | None) -> None:
        keyring = self._keyring(row) if value is not None else None
        if row.id is None:
            row.id = new_id()
        setattr(row, f"{self.name}_sealed", keyring.seal(value, self._aad(row)) if keyring and value else None)
        if self.indexed:
            blind = keyring.blind(self.column, self._normalise(value)) if keyring and value else None
            setattr(row, f"{self.name}_index", blind)

    def _keyring(self, row: Any) -> Keyring:
        session = object_session(row)
        if session is None:
            raise KeyringMissing(f"{self.column}: this {type(row).__name__} has left its session and cannot be opened")
        return keyring_of(session)

    def _aad(self, row: Any) -> str:
        return f"{row.__tablename__}|{self.name}|{row.id}"


def sealed_columns(base: type[Any]) -> list[str]:
    """Return `table.column` of every indexed sealed attribute of the models under `base`, for `Keyring.prepare`."""
    models = (mapper.class_ for mapper in base.registry.mappers)
    found = {a.column for model in models for a in getattr(model, "__sealed_attributes__", ()) if a.indexed}
    return sorted(found)


@event.listens_for(Mapper, "before_insert")
@event.listens_for(Mapper, "before_update")
def _settle(_mapper: Mapper[Any], _connection: Any, row: Any) -> None:
    for attribute in getattr(type(row), "__sealed_attributes__", ()):
        attribute.settle(row)
