"""Keys and ciphers: what opens, what does not, and what a person is told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from chassis.crypto import DataKeys, Keyring, MasterKey, MasterKeyError, SealBroken, WireCodec, fingerprint
from chassis.database import CHASSIS, Database
from contracts.errors import Unavailable

AAD = "customer|phone|018f"


@pytest.fixture
def master(tmp_path: Path) -> MasterKey:
    return MasterKey.create(tmp_path / "keys" / "master.key")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    uri = f"sqlite:///{tmp_path}/service.sqlite"
    db = Database(uri)
    with db.write() as session:
        CHASSIS.create_all(session.connection())
    db.close()
    return uri


@pytest.fixture
def keyring(master: MasterKey, uri: str) -> Keyring:
    return Keyring(master, DataKeys(uri))


def flipped(sealed: str, at: int = -1) -> str:
    """Return `sealed` with one character of its box changed."""
    head, _, box = sealed.rpartition(".")
    characters = list(box)
    characters[at] = "A" if characters[at] != "A" else "B"
    return f"{head}.{''.join(characters)}"


class TestMasterKey:
    def test_a_created_key_file_is_its_owners_alone_and_loads_again(self, tmp_path: Path) -> None:
        path = tmp_path / "keys" / "master.key"
        created = MasterKey.create(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert MasterKey.load(path) == created

    def test_an_existing_key_is_never_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "master.key"
        MasterKey.create(path)
        before = path.read_bytes()
        with pytest.raises(MasterKeyError, match="never overwritten"):
            MasterKey.create(path)
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["master.key"]

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o610])
    def test_a_key_that_others_may_touch_is_refused_with_the_remedy(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "master.key"
        MasterKey.create(path)
        path.chmod(mode)
        with pytest.raises(MasterKeyError, match="chmod 600"):
            MasterKey.load(path)

    @pytest.mark.parametrize(
        ("content", "word"),
        [
            ("", "first line"),
            ("hub-master-key 2\n", "first line"),
            ("hub-master-key 1\n", "holds no key"),
            ("hub-master-key 1\nabcd1234 c2hvcnQ\n", "5 bytes long"),
            ("hub-master-key 1\nabcd1234 not*base64\n", "not base64url"),
            ("hub-master-key 1\nabcd1234 " + "A" * 43 + "\n", "damaged"),
        ],
    )
    def test_a_damaged_key_file_is_named_as_such(self, tmp_path: Path, content: str, word: str) -> None:
        path = tmp_path / "master.key"
        path.write_text(content)
        path.chmod(0o600)
        with pytest.raises(MasterKeyError, match=word):
            MasterKey.load(path)

    def test_a_missing_key_says_that_it_must_be_restored(self, tmp_path: Path) -> None:
        with pytest.raises(MasterKeyError, match="restore the master key"):
            MasterKey.load(tmp_path / "master.key")

    def test_the_key_is_not_shown_by_repr(self, master: MasterKey) -> None:
        assert repr(master.versions[master.current]) not in repr(master)

    def test_after_a_rotation_the_first_line_seals_and_the_older_still_opens(
        self, tmp_path: Path, master: MasterKey
    ) -> None:
        old = WireCodec(master).seal("hello", "wire")
        path = tmp_path / "keys" / "master.key"
        newer = MasterKey.create(tmp_path / "newer.key")
        lines = (tmp_path / "newer.key").read_text().splitlines()
        path.write_text("\n".join([lines[0], lines[1], path.read_text().splitlines()[1], ""]))
        both = MasterKey.load(path)
        assert both.current == newer.current
        assert WireCodec(both).open(old, "wire") == "hello"
        assert WireCodec(newer).open(WireCodec(both).seal("later", "wire"), "wire") == "later"


class TestSealedFields:
    def test_what_is_sealed_opens_in_its_place(self, keyring: Keyring) -> None:
        sealed = keyring.seal("+8613800138000", AAD)
        assert sealed.startswith("v1.")
        assert "13800138000" not in sealed
        assert keyring.open(sealed, AAD) == "+8613800138000"

    def test_equal_values_look_different(self, keyring: Keyring) -> None:
        assert keyring.seal("a", AAD) != keyring.seal("a", AAD)

    def test_a_value_moved_to_another_row_does_not_open(self, keyring: Keyring) -> None:
        with pytest.raises(SealBroken):
            keyring.open(keyring.seal("a", AAD), "customer|phone|other")

    @pytest.mark.parametrize("at", [0, 15, 20, -2])
    def test_a_changed_character_is_noticed(self, keyring: Keyring, at: int) -> None:
        with pytest.raises(SealBroken):
            keyring.open(flipped(keyring.seal("some text", AAD), at), AAD)

    @pytest.mark.parametrize(
        "text", ["", "plain", "v1.only", "v9.a.AAAA", "v1.ffff.AAAA", "v1..", "v1.a.###", "a.b.c.d"]
    )
    def test_what_is_no_sealed_text_is_refused_as_broken(self, keyring: Keyring, text: str) -> None:
        with pytest.raises(SealBroken):
            keyring.open(text, AAD)

    def test_an_index_key_opens_no_field(self, keyring: Keyring, uri: str) -> None:
        keyring.prepare(["customer.phone"])
        index_key = next(key for key in DataKeys(uri).all() if key.purpose == "index:customer.phone")
        sealed = keyring.seal("a", AAD)
        with pytest.raises(SealBroken):
            keyring.open(f"v1.{index_key.id}.{sealed.rpartition('.')[2]}", AAD)

    def test_another_process_opens_it_with_the_same_master_key(
        self, keyring: Keyring, master: MasterKey, uri: str
    ) -> None:
        sealed = keyring.seal("a", AAD)
        assert Keyring(master, DataKeys(uri)).open(sealed, AAD) == "a"

    def test_another_master_key_opens_nothing(self, keyring: Keyring, tmp_path: Path, uri: str) -> None:
        keyring.seal("a", AAD)
        stranger = Keyring(MasterKey.create(tmp_path / "other.key"), DataKeys(uri))
        with pytest.raises(SealBroken):
            stranger.prepare()

    def test_after_a_rotation_old_texts_open_and_new_ones_use_the_new_key(
        self, keyring: Keyring, master: MasterKey, uri: str
    ) -> None:
        bystander = Keyring(master, DataKeys(uri))
        old = bystander.seal("old", AAD)
        new_key = keyring.rotate()
        new = keyring.seal("new", AAD)
        assert new.split(".")[1] == new_key != old.split(".")[1]
        assert keyring.open(old, AAD) == "old"
        assert bystander.open(new, AAD) == "new"

    def test_processes_that_start_at_once_agree_on_one_key(self, master: MasterKey, uri: str) -> None:
        rings = [Keyring(master, DataKeys(uri)) for _ in range(4)]
        threads = [threading.Thread(target=ring.prepare, args=(["customer.phone"],)) for ring in rings]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(key.purpose for key in DataKeys(uri).all()) == ["field", "index:customer.phone"]
        assert len({ring.blind("customer.phone", "x") for ring in rings}) == 1

    def test_a_loser_of_the_race_uses_the_winners_key(
        self, master: MasterKey, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        winner, loser = Keyring(master, DataKeys(uri)), Keyring(master, DataKeys(uri))
        looked = DataKeys.all
        monkeypatch.setattr(DataKeys, "all", lambda _self: [])  # the loser looks before the winner has written
        loser._load()
        monkeypatch.setattr(DataKeys, "all", looked)
        sealed = winner.seal("a", AAD)
        loser._make("field")
        assert loser.open(sealed, AAD) == "a"
        assert len(DataKeys(uri).all()) == 1

    def test_a_first_use_while_the_service_writes_is_refused_in_time(self, master: MasterKey, uri: str) -> None:
        db = Database(uri)
        with db.write(), pytest.raises(Unavailable, match="prepare it at start"):
            Keyring(master, DataKeys(uri)).seal("a", AAD)
        db.close()

    def test_a_prepared_keyring_works_while_the_service_writes(self, keyring: Keyring, uri: str) -> None:
        keyring.prepare(["customer.phone"])
        db = Database(uri)
        with db.write():
            assert keyring.open(keyring.seal("a", AAD), AAD) == "a"
            assert keyring.blind("customer.phone", "a")
        db.close()

    def test_a_database_without_the_table_is_unavailable_not_a_crash(self, master: MasterKey, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="migrated"):
            Keyring(master, DataKeys(f"sqlite:///{tmp_path}/empty.sqlite")).prepare()


class TestBlindIndex:
    def test_equal_values_are_found_and_a_restart_changes_nothing(
        self, keyring: Keyring, master: MasterKey, uri: str
    ) -> None:
        blind = keyring.blind("customer.phone", "+8613800138000")
        assert len(blind) == 43
        assert Keyring(master, DataKeys(uri)).blind("customer.phone", "+8613800138000") == blind
        assert keyring.blind("customer.phone", "+8613800138001") != blind

    def test_one_value_in_two_columns_shows_no_likeness(self, keyring: Keyring) -> None:
        assert keyring.blind("customer.phone", "1") != keyring.blind("contact.phone", "1")

    def test_it_survives_a_rotation_of_the_field_key(self, keyring: Keyring) -> None:
        before = keyring.blind("customer.phone", "1")
        keyring.rotate()
        assert keyring.blind("customer.phone", "1") == before


class TestWireCodec:
    def test_a_message_field_opens_in_any_service_with_the_master_key(self, master: MasterKey) -> None:
        assert WireCodec(master).open(WireCodec(master).seal("张伟", "wire"), "wire") == "张伟"

    def test_a_cursor_is_no_message_field(self, master: MasterKey) -> None:
        codec = WireCodec(master)
        with pytest.raises(SealBroken):
            codec.open(codec.seal("a", "cursor"), "wire")

    @pytest.mark.parametrize("at", [0, 17, -2])
    def test_a_tampered_text_is_broken_and_that_is_a_value_error(self, master: MasterKey, at: int) -> None:
        codec = WireCodec(master)
        with pytest.raises(ValueError, match="does not open"):
            codec.open(flipped(codec.seal("a", "wire"), at), "wire")

    def test_an_unknown_master_key_version_is_named(self, master: MasterKey) -> None:
        with pytest.raises(SealBroken, match="deadbeef"):
            WireCodec(master).open("v1.deadbeef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "wire")


def test_a_fingerprint_tells_bodies_apart_and_depends_on_the_key(master: MasterKey, tmp_path: Path) -> None:
    other = MasterKey.create(tmp_path / "other.key")
    assert fingerprint(master, b"{}") == fingerprint(master, b"{}")
    assert len({fingerprint(master, b"{}"), fingerprint(master, b"{ }"), fingerprint(other, b"{}")}) == 3
