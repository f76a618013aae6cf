"""Sealed attributes: pleasant to write, ciphertext in the table, and useless in another row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.crypto import DataKeys, Keyring, MasterKey, SealBroken
from chassis.database import CHASSIS, NAMING, Database, Id, new_id
from chassis.sealed import KEYRING, KeyringMissing, Sealed, sealed_columns


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class Person(Base):
    __tablename__ = "person"
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    phone = Sealed("phone", index=True, normalise=lambda value: value.replace(" ", ""))
    email = Sealed("email", index=True, unique=True, normalise=str.lower)
    note = Sealed("note")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    uri = f"sqlite:///{tmp_path}/people.sqlite"
    keyring = Keyring(MasterKey.create(tmp_path / "master.key"), DataKeys(uri))
    db = Database(uri, info={KEYRING: keyring})
    with db.write() as session:
        CHASSIS.create_all(session.connection())
        Base.metadata.create_all(session.connection())
    keyring.prepare(sealed_columns(Base))
    yield db
    db.close()


def stored(db: Database, column: str) -> str | None:
    with db.read() as session:
        value: str | None = session.scalar(text(f"SELECT {column} FROM person"))
        return value


def test_a_new_row_takes_its_values_like_plain_attributes(db: Database) -> None:
    with db.write() as session:
        person = Person(phone="138 0013 8000", note="likes tea")
        assert person.phone == "138 0013 8000"
        session.add(person)
        session.flush()
        assert person.phone == "138 0013 8000"
    with db.read() as session:
        person = session.scalars(select(Person)).one()
        assert (person.phone, person.note, person.email) == ("138 0013 8000", "likes tea", None)


def test_nothing_clear_reaches_the_file(db: Database, tmp_path: Path) -> None:
    with db.write() as session:
        session.add(Person(phone="13800138000", email="wei@example.com", note="a secret note"))
    db.close()
    bytes_on_disk = b"".join(file.read_bytes() for file in tmp_path.glob("people.sqlite*"))
    for clear in (b"13800138000", b"wei@example.com", b"a secret note"):
        assert clear not in bytes_on_disk


def test_nothing_clear_stays_in_the_object_once_it_is_flushed(db: Database) -> None:
    with db.write() as session:
        person = Person(phone="13800138000")
        session.add(person)
        session.flush()
        assert "13800138000" not in str(person.__dict__)


def test_a_row_is_found_by_equality_in_any_spelling(db: Database) -> None:
    with db.write() as session:
        session.add_all([Person(phone="138 0013 8000"), Person(phone="139 0000 0000")])
    with db.read() as session:
        found = session.scalars(select(Person).where(Person.phone.equals(session, "13800138000"))).all()
        assert [person.phone for person in found] == ["138 0013 8000"]
        assert session.scalars(select(Person).where(Person.phone.equals(session, "1"))).all() == []


def test_nobody_is_found_by_an_empty_value(db: Database) -> None:
    with db.write() as session:
        session.add(Person(phone=None))
    with db.read() as session:
        assert session.scalars(select(Person).where(Person.phone.equals(session, ""))).all() == []


def test_a_changed_value_changes_its_index(db: Database) -> None:
    with db.write() as session:
        person = Person(phone="1")
        session.add(person)
    with db.write() as session:
        session.scalars(select(Person)).one().phone = "2"
    with db.read() as session:
        assert session.scalars(select(Person).where(Person.phone.equals(session, "1"))).all() == []
        assert session.scalars(select(Person).where(Person.phone.equals(session, "2"))).one().phone == "2"


def test_a_removed_value_leaves_neither_ciphertext_nor_index(db: Database) -> None:
    with db.write() as session:
        session.add(Person(phone="1"))
    with db.write() as session:
        session.scalars(select(Person)).one().phone = None
    assert stored(db, "phone_sealed") is None
    assert stored(db, "phone_index") is None


def test_a_value_given_and_taken_back_before_the_flush_is_gone(db: Database) -> None:
    with db.write() as session:
        person = Person(phone="1")
        person.phone = None
        session.add(person)
    assert stored(db, "phone_sealed") is None


def test_uniqueness_is_held_without_knowing_the_value(db: Database) -> None:
    with pytest.raises(IntegrityError), db.write() as session:
        session.add_all([Person(email="a@example.com"), Person(email="A@example.com")])
    with db.write() as session:
        session.add_all([Person(email=None), Person(email=None)])


def test_ciphertext_moved_to_another_row_does_not_open(db: Database) -> None:
    with db.write() as session:
        session.add_all([Person(id=new_id(), note="mine"), Person(id=new_id(), note="yours")])
    with db.write() as session:
        one, other = session.scalars(select(Person))
        session.execute(text("UPDATE person SET note_sealed = :s WHERE id = :i"),
                        {"s": one.note_sealed, "i": other.id})  # type: ignore[attr-defined]
    with db.read() as session, pytest.raises(SealBroken):
        _ = [person.note for person in session.scalars(select(Person))]


def test_an_object_that_left_its_session_says_so(db: Database) -> None:
    with db.write() as session:
        person = Person(note="tea")
        session.add(person)
    with pytest.raises(KeyringMissing, match=r"person\.note.*left its session"):
        _ = person.note


def test_a_session_without_a_keyring_says_so(tmp_path: Path, db: Database) -> None:
    bare = Database(f"sqlite:///{tmp_path}/people.sqlite")
    with pytest.raises(KeyringMissing, match="no keyring"), bare.write() as session:
        session.add(Person(note="tea"))
    bare.close()


def test_an_attribute_without_index_cannot_be_searched(db: Database) -> None:
    with db.read() as session, pytest.raises(TypeError, match="no blind index"):
        Person.note.equals(session, "tea")


def test_the_launcher_learns_which_index_keys_to_prepare() -> None:
    assert sealed_columns(Base) == ["person.email", "person.phone"]


def test_a_misspelt_declaration_fails_when_the_class_is_made() -> None:
    with pytest.raises((TypeError, RuntimeError)):
        type("Wrong", (), {"phone": Sealed("fone")})
    with pytest.raises(ValueError, match="index=True"):
        Sealed("phone", unique=True)
