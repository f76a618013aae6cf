"""The fake adapters as an installed distribution, for rooms that run as processes of their own."""

from __future__ import annotations

from pathlib import Path

from tests.support.fake_target import ADAPTERS
from tests.support.processes import ROOT
from tests.support.two_way import TwoWayAdapter

PLUGGED = {**ADAPTERS, "two_way": TwoWayAdapter}


def plug_in(folder: Path) -> str:
    """Write the distribution's metadata into `folder`; return the `PYTHONPATH` that makes its adapters known."""
    metadata = folder / "fake_adapters-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-adapters\nVersion: 1.0\n")
    lines = [f"{name} = {adapter.__module__}:{adapter.__name__}" for name, adapter in PLUGGED.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[crm_hub.adapters]", *lines, ""]))
    return f"{ROOT}:{folder}"
