"""The page of everything that is counted and timed: `python -m hub.metrics_reference` prints it from the code.

A program of its own, as `hub.room_config` is, and for the same reason: the rooms' code is not the CLI's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from hub.installation import Installation

HEAD = """# Metrics

Written by `make examples` from the code. Each room serves them at `/metrics` of its health address, beside the
`process_*` and `python_*` metrics of the Prometheus client. The unit is the end of the name; `_total` is a count, and a
histogram has `_bucket`, `_sum` and `_count`. `deploy/prometheus` has the alerts, `deploy/grafana` the dashboards.

| metric | kind | labels | meaning |
|---|---|---|---|
"""


@dataclass(frozen=True, order=True)
class Described:
    """One metric, as its line tells it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def line(self) -> str:
        """The line of the table."""
        labels = ", ".join(f"`{label}`" for label in self.labels)
        return f"| `{self.name}` | {self.kind} | {labels} | {self.meaning} |\n"


def described() -> Iterator[Described]:
    """Yield every metric of every room."""
    from chassis.gauges import RoomGauges
    from chassis.launcher import room_module

    groups = {RoomGauges}
    for room in Installation({}).rooms:
        groups |= set(getattr(room_module(room), "GAUGES", ()))
    for group in groups:
        for gauge in group.told:
            yield Described(gauge.name, "gauge", gauge.labels, gauge.meaning)
    yield from _of_the_process()


def _of_the_process() -> Iterator[Described]:
    """Yield what the modules that are loaded by now count and time."""
    from prometheus_client.metrics import MetricWrapperBase

    ours = [module for name, module in sorted(sys.modules.items())
            if name.partition(".")[0] in ("chassis", "gateway", "services")]
    found = {id(value): value for module in ours for value in vars(module).values()
             if isinstance(value, MetricWrapperBase)}
    for value in found.values():
        [family] = value.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield Described(name, family.type, tuple(value._labelnames), family.documentation)


def page() -> str:
    """Return the page."""
    return HEAD + "".join(one.line for one in sorted(described()))


if __name__ == "__main__":
    sys.stdout.write(page())
