"""What any adapter asks of a connection's settings, before it reads its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hub_adapter.failure import TryLater
from hub_adapter.port import CheckResult, Json, Problem


class SettingsError(TryLater):
    """The settings cannot be used; `problems` maps a setting to what is wrong with it.

    `check` answers with `result`; any other call waits until a person has mended them.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        told = "; ".join(f"{name}: {text}" for name, text in problems.items())
        super().__init__(f"the connection's settings cannot be used: {told}")
        self.problems = dict(problems)

    @property
    def result(self) -> CheckResult:
        return CheckResult(problems=tuple(Problem(name, text) for name, text in self.problems.items()))


def problems_of(config: Json, secrets: Mapping[str, str], schema: Json, secret_fields: Sequence[str]) -> dict[str, str]:
    """What is wrong whatever the target: settings that `schema` lacks, what is missing, a `base_url` that is none."""
    known = schema.get("properties", {})
    problems = {name: "is not a setting of this adapter" for name in config.keys() - known.keys()}
    problems |= {name: "is missing" for name in schema.get("required", ()) if config.get(name) in (None, "", {})}
    problems |= {name: "is missing" for name in secret_fields if not secrets.get(name)}
    if "base_url" in config.keys() - problems and not str(config["base_url"]).startswith(("http://", "https://")):
        problems["base_url"] = "has to begin with http:// or https://"
    return problems
