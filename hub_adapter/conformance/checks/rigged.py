"""The fixtures that every check against a system stands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from hub_adapter.conformance.proxy import FaultProxy
from hub_adapter.conformance.rig import Rig
from hub_adapter.conformance.structural import StructuralSuite
from hub_adapter.conformance.system import System


class RiggedSuite(StructuralSuite):
    """A suite with a system, which a fixture `system` of yours describes.

    Attributes:
        entities: those that the checks are asked of; all of the spec's where left out.
    """

    entities: ClassVar[tuple[str, ...]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        spec = self.adapter.spec
        if "entity" in metafunc.fixturenames:
            metafunc.parametrize("entity", self.entities or spec.entities)
        if "pulled" in metafunc.fixturenames:
            metafunc.parametrize("pulled", spec.pulled or ("nothing",))

    @pytest.fixture
    def settings(self, system: System) -> Mapping[str, Any]:
        return system.config

    @pytest.fixture
    def credential(self, system: System) -> Mapping[str, str]:
        return system.secrets

    @pytest.fixture
    def rig(self, system: System, conformance_proxy: FaultProxy) -> Iterator[Rig]:
        rig = Rig(self.adapter, system, conformance_proxy)
        yield rig
        rig.close()
