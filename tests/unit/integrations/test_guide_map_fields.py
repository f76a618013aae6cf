"""The guide on mappings tells what happens: its mapping, filled from its record, sends what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from services.integrations.adapters import registry
from services.integrations.domain import canonical, mapping, mapping_checks
from services.integrations.domain.codes import Lookup

GUIDES = Path(__file__).resolve().parents[3] / "docs" / "guides"


@pytest.mark.parametrize("name", ["map-fields.md", "map-fields.zh-CN.md"])
def test_the_mapping_of_the_guide_sends_what_the_guide_says(name: str) -> None:
    guide = (GUIDES / name).read_text(encoding="utf-8")

    def blocks(language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```", guide, re.M | re.S)

    [text], (record, sent) = blocks("yaml"), map(json.loads, blocks("json"))
    cities = json.loads(re.search(r"""-d '(\{"codes".*?)'$""", guide, re.M).group(1))["codes"]  # type: ignore[union-attr]
    read = mapping.read(text)
    mapping_checks.require_sound(read, canonical.schema_of(canonical.CONTRACTS["customer"]),
                                 registry.load("tryton").spec.fields["customer"], {"cities": cities})
    assert read.body(record, Lookup({"cities": cities})) == sent
