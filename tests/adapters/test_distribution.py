"""`hub_adapter` is a distribution of its own: it builds from its folder, and works where nothing else of ours is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.processes import ROOT

BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
IMPORT = """
import importlib.util, sys
import hub_adapter.client, hub_adapter.port
print([room for room in ("contracts", "chassis", "services", "gateway", "pytest", "jsonschema")
       if importlib.util.find_spec(room)])
"""


def test_it_builds_and_works_alone_in_an_empty_environment(tmp_path: Path) -> None:
    source = shutil.copytree(ROOT / "hub_adapter", tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    wheel = run(sys.executable, "-c", BUILD, str(tmp_path), cwd=source).splitlines()[-1]
    env = tmp_path / "env"
    run(sys.executable, "-m", "venv", "--without-pip", str(env), cwd=tmp_path)
    uv, python = Path(sys.executable).with_name("uv"), env / "bin" / "python"
    run(str(uv), "pip", "install", "--offline", "--no-deps", f"--python={python}", str(tmp_path / wheel), cwd=tmp_path)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(env)}))
    ours = PathDistribution(next(site.glob("crm_hub_adapter-*.dist-info")))

    bring(ours, "", site)
    assert run(str(python), "-I", "-c", IMPORT, cwd=tmp_path).strip() == "[]"

    bring(ours, "conformance", site)
    suite = shutil.copy(ROOT / "tests" / "adapters" / "test_records_adapter.py", tmp_path)
    report = tmp_path / "conformance.json"
    command = ["-I", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--conformance-report={report}", str(suite)]
    run(str(python), *command, cwd=tmp_path)
    (told,) = json.loads(report.read_text())["suites"].values()
    assert (told["adapter"], told["counts"]["failed"]) == ("records", 0)
    assert told["guarantee"]["earned"] == "effectively once"


def bring(wanted: Distribution, extra: str, site: Path) -> None:
    """Put what a distribution asks for beside it, as it stands in this environment, and what that asks for."""
    for text in wanted.requires or ():
        asked = Requirement(text)
        if asked.marker is not None and not asked.marker.evaluate({"extra": extra}):
            continue
        found = distribution(asked.name)
        assert found.version in asked.specifier, f"{text}: {found.version} is here"
        for file in found.files or ():
            place = site / file
            if ".." in file.parts or place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(found.locate_file(file)), place)
        bring(found, "", site)


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
