"""Settings: environment over file over default, and every fault named at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from chassis.config import ConfigError, Settings, describe, setting


@dataclass(frozen=True, kw_only=True)
class ShopSettings(Settings):
    shelf: int = setting(3, env="SHOP_SHELF", unit="m", least=1, most=9, doc="Length.")
    owner: str = setting(env="SHOP_OWNER", doc="Required.")


def load(tmp_path: Path, text: str = "", **environ: str) -> ShopSettings:
    file = tmp_path / "shop.yaml"
    file.write_text(text)
    return ShopSettings.load("shop", {"SHOP_OWNER": "Li", **environ}, file)


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    assert load(tmp_path).shelf == 3
    assert load(tmp_path, "shelf: 4").shelf == 4
    assert load(tmp_path, "shelf: 4", SHOP_SHELF="5").shelf == 5


def test_home_and_room_are_filled_in_as_absolute_paths(tmp_path: Path) -> None:
    settings = load(tmp_path, HUB_HOME=str(tmp_path / "hub"))
    assert settings.db_uri == f"sqlite:///{tmp_path}/hub/db/shop.sqlite"
    assert settings.master_key_file == tmp_path / "hub" / "keys" / "master.key"


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("shelve: 1\nshelf: 10")
    with pytest.raises(ConfigError) as refused:
        ShopSettings.load("shop", {"HUB_ENV": "staging"}, tmp_path / "f.yaml")
    for word in ("shelve: no such key", "SHOP_SHELF", "HUB_ENV", "SHOP_OWNER"):
        assert word in str(refused.value)


@pytest.mark.parametrize("text", ["- a\n- b", "a: [", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, text)


def test_a_file_that_is_named_and_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        ShopSettings.load("shop", {"SHOP_OWNER": "x", "HUB_CONFIG_SHOP": str(tmp_path / "nowhere.yaml")})


def test_failpoints_are_refused_in_production(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HUB_FAILPOINTS"):
        load(tmp_path, HUB_ENV="production", HUB_FAILPOINTS="relay.after_publish=kill")


def test_the_inbox_remembers_longer_than_the_outbox_can_send(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="inbox_retention_h"):
        load(tmp_path, OUTBOX_RETENTION_H="400", INBOX_RETENTION_H="300")


def test_every_key_is_described_with_variable_and_unit() -> None:
    rows = {row["key"]: row for row in describe(ShopSettings, "shop")}
    assert (rows["shelf"]["env"], rows["shelf"]["unit"]) == ("SHOP_SHELF", "m")
    assert rows["db_uri"]["env"] == "DB_URI_SHOP"
    assert rows["amqp_uri"]["secret"]
    assert all(row["doc"] for row in rows.values())
