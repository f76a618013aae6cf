#!/usr/bin/env python3
"""A real Ghost 6.65 on this machine: a newsletter, for trying the hub against.

    sandbox.py prepare     install the program; nothing is left running
    sandbox.py serve       serve in the foreground (for a supervisor); needs `prepare`
    sandbox.py start       prepare, then serve in the background, wait until it answers, and seed it
    sandbox.py stop        stop what `start` or `serve` started
    sandbox.py status      one line; exit status 0 running, 3 stopped
    sandbox.py purge       stop, then delete all state

Every step is idempotent, so a first run that was cut off is finished by the next one. All state lies under
$HUB_HOME/sandbox/ghost (HUB_HOME defaults to ./.hub). The server listens on loopback only. Passwords are random, made
at the first start and kept with mode 0600. Only the standard library is used here.
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
from pathlib import Path

import program
from layout import NAME, Sandbox
from seed import seed
from serving import Server, arguments, do, waiting_lock


class Ghost(Server[Sandbox]):
    """The newsletter."""

    name = NAME
    script = Path(__file__).resolve()
    path = "/ghost/"
    kept = "key, newsletter and webhook secret"
    ready_within_s = 180
    """The first start makes the tables: 10 s, on busy cores a minute."""
    stops_within_s = 20

    def prepared(self) -> bool:
        return self.place.content.exists()

    def prepare(self) -> None:
        """Install the program and lay out the content."""
        place = self.place
        place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        program.install(place.app)
        with waiting_lock(place.state / "prepare.lock"):
            if not place.content.exists():
                fresh = place.content.with_name("content.new")
                shutil.rmtree(fresh, ignore_errors=True)
                shutil.copytree(place.app / "package" / "content", fresh, symlinks=True)
                for folder in ("data", "logs"):
                    (fresh / folder).mkdir(exist_ok=True)
                fresh.rename(place.content)

    def command(self) -> list[str]:
        return [str(program.node_of(self.place.app) / "bin" / "node"), "index.js"]

    def folder(self) -> Path:
        return self.place.app / "package"

    def environment(self) -> dict[str, str]:
        """What Ghost sees. Its settings are names with two underscores (docs.ghost.org/config)."""
        place = self.place
        kept = {name: value for name, value in os.environ.items() if "__" not in name and not name.startswith("npm_")}
        return kept | {
            "PATH": f"{program.node_of(place.app) / 'bin'}:{os.environ['PATH']}",
            "NODE_ENV": "development",
            "url": place.url,
            "server__host": "127.0.0.1",
            "server__port": str(place.port),
            "database__client": "better-sqlite3",
            "database__connection__filename": str(place.content / "data" / "ghost.db"),
            "paths__contentPath": str(place.content),
            "mail__options__host": "127.0.0.1",
            "mail__options__port": os.environ.get("HUB_GHOST_MAIL_PORT", "2525"),
            "security__allowWebhookInternalIPs": "true",  # the hub listens on loopback too
            "privacy__useUpdateCheck": "false",
            "logging__transports": '["stdout"]',
            "logging__level": "warn",
        }

    def answers(self) -> bool:
        """Whether the site tells of itself; while its tables are made it answers 503."""
        connection = http.client.HTTPConnection("127.0.0.1", self.place.port, timeout=5)
        try:
            connection.request("GET", "/ghost/api/admin/site/", headers={"Accept-Version": "v6.0"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def after_starting(self) -> None:
        """Seed it over its own API."""
        seed(self.place)

    def flags(self) -> list[str]:
        return [*super().flags(), f"--app={self.place.app}"]


def parse(asked: list[str]) -> tuple[str, Ghost]:
    parser = arguments(NAME, 2368, __doc__)
    parser.add_argument("--app", type=Path, default=os.environ.get("HUB_GHOST_APP"), help="default: <state>/app")
    given = parser.parse_args(asked)
    state = given.state.absolute()
    return given.verb, Ghost(Sandbox(state=state, app=(given.app or state / "app").absolute(), port=given.port))


if __name__ == "__main__":
    do(*parse(sys.argv[1:]))
