"""Makes the folder of a new adapter: `adapter_template` with its name in it."""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hub.installation import ROOT
from hub.trouble import Trouble

TEMPLATE = Path(__file__).parent / "adapter_template"
PACKAGE, NAME, CLASS = "crm_hub_acme", "acme", "Acme"
OURS = Path("services/integrations/adapters")
PATTERN = re.compile(r"(?=.{2,40}\Z)[a-z][a-z0-9]*(_[a-z0-9]+)*")
GUIDE = "docs/guides/write-an-adapter.md"

Step = Mapping[str, str]
"""Language (`en`, `zh-CN`) → what to do."""


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        folder: that the adapter lies in.
        files: all of them, sorted.
        test: the file that runs the kit.
        steps: what to do next, in order.
    """

    folder: Path
    files: tuple[Path, ...]
    test: Path
    steps: tuple[Step, ...]


def make(name: str, into: Path, *, ours: bool) -> Made:
    """Write a new adapter that passes the structural half of the kit.

    Args:
        name: of the adapter, as a connection names it.
        into: the folder that a distribution of its own is put in; for one of ours, the checkout.
        ours: whether it comes with the hub.

    Raises:
        Trouble: the name cannot be used, or something is there already.
    """
    if not PATTERN.fullmatch(name) or keyword.iskeyword(name):
        raise Trouble(f"{name!r} is no name for an adapter",
                      "take 2 to 40 small letters and digits, a letter first, words parted by one _")
    if (ROOT / OURS / name).exists():
        raise Trouble(f"the hub has an adapter {name} of its own", "take another name: it would never be loaded")
    if ours and (ROOT / OURS / f"{name}.py").exists():
        raise Trouble(f"the hub has a module {OURS}/{name}.py", "take another name: the folder would hide the module")
    package = ".".join((*OURS.parts, name)) if ours else f"crm_hub_{name}"
    written = {into / _place(file, name, ours=ours): _filled(file, name, package) for file in _template(ours=ours)}
    folder = into / OURS / name if ours else into / _distribution(name)
    if taken := [place for place in (folder, *written) if place.exists()]:
        raise Trouble(f"{taken[0]} exists", "take another name, or remove it")
    for place, text in written.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    test = next(place for place in written if place.name == "test_conformance.py")
    steps = _steps_of_ours(name, test.relative_to(into)) if ours else _steps(folder.resolve())
    return Made(folder, tuple(sorted(written)), test, steps)


def _template(*, ours: bool) -> list[Path]:
    files = [file.relative_to(TEMPLATE) for file in TEMPLATE.rglob("*") if file.is_file()]
    left = {"pyproject.toml"} if ours else set()
    return [file for file in files if file.name not in left and not str(file).startswith(".")
            and "__pycache__" not in file.parts]


def _place(file: Path, name: str, *, ours: bool) -> Path:
    """Where a file of the template goes."""
    if not ours:
        return Path(_distribution(name)) / str(file).replace(PACKAGE, f"crm_hub_{name}")
    return (Path("tests/adapters") if file.parts[0] == "tests" else OURS) / name / file.name


def _filled(file: Path, name: str, package: str) -> str:
    words = {
        PACKAGE: package,
        "crm-hub-acme": _distribution(name),
        "AcmeAdapter": f"{_class_of(name)}Adapter",
        "TestAcme": f"Test{_class_of(name)}",
        CLASS: name.replace("_", " ").capitalize(),
        f"{NAME}.example": f"{name.replace('_', '-')}.example",
        NAME: name,
    }
    pattern = re.compile("|".join(map(re.escape, words)))
    return pattern.sub(lambda found: words[found[0]], (TEMPLATE / file).read_text(encoding="utf-8"))


def _distribution(name: str) -> str:
    return f"crm-hub-{name.replace('_', '-')}"


def _class_of(name: str) -> str:
    return name.title().replace("_", "")


def _steps(folder: Path) -> tuple[Step, ...]:
    # Absolute: pip takes a bare name for that of a distribution, and asks an index for it.
    python, place = shlex.quote(sys.executable), shlex.quote(str(folder))
    install = f"{python} -m pip install --no-deps {place}"
    return (
        _kit_passes(f"{python} -m pytest -p hub_adapter.conformance.plugin {place}"),
        _write_the_rest(folder / "README.md"),
        {"en": f"Install it for the hub: {install}. hub adapter list shows it then; a later version is loaded "
               "at the next hub down, hub up.",
         "zh-CN": f"安装到 hub：{install}。之后 hub adapter list 会列出它；"
                  "更新的版本在下次 hub down、hub up 时载入。"},
    )


def _steps_of_ours(name: str, test: Path) -> tuple[Step, ...]:
    line = f'"{name}": "{".".join(OURS.parts)}.{name}.adapter:{_class_of(name)}Adapter",'
    return (
        _kit_passes(f"make test T={test}"),
        _write_the_rest(OURS / name / "README.md"),
        {"en": f"Make it known: the line {line} in {OURS}/registry.py, and {name} in the import contract "
               "each-adapter-alone of pyproject.toml.",
         "zh-CN": f"登记：在 {OURS}/registry.py 中加入 {line}，并在 pyproject.toml 的导入规则 each-adapter-alone "
                  f"中加入 {name}。"},
    )


def _kit_passes(command: str) -> Step:
    return {"en": f"The half of the conformance kit that needs no system passes already: {command}",
            "zh-CN": f"一致性套件中不需要外部系统的一半已经通过：{command}"}


def _write_the_rest(readme: Path) -> Step:
    return {"en": "Not written yet: the mapping, find, write, delete, list and expected, the capabilities and limits, "
                  f"and the half of the kit that needs a system. {readme} says more of each; {GUIDE} does it for a "
                  "small system, step by step.",
            "zh-CN": "尚未编写：字段映射，find、write、delete、list 和 expected，capabilities 和 limits，"
                     f"以及套件中需要外部系统的一半。详见 {readme}；{GUIDE} 以一个小系统为例逐步完成。"}
