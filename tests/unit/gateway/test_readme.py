"""The operator's page names every setting of the gateway, with its true default."""

from __future__ import annotations

import re
from pathlib import Path

from chassis.config import Settings, describe
from gateway.settings import GatewaySettings

README = Path(__file__).parents[3] / "gateway" / "README.md"


def test_every_setting_of_the_gateway_is_on_the_operators_page_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", README.read_text(encoding="utf-8"), re.MULTILINE))
    common = {key["env"]: key["default"] for key in describe(Settings, "gateway")}
    own = {key["env"]: key["default"] for key in describe(GatewaySettings, "gateway")}
    expected = {name: default for name, default in own.items() if name not in common or common[name] != default}

    assert set(rows) == set(expected)
    for name, default in expected.items():
        shown = rows[name].strip("` ").replace(",", "")
        plain = {"": "empty", (): "none"}.get(default, str(default))
        assert shown in {plain, plain.removesuffix(".0")}, name
