"""Make the collection in which the hub makes task calendars. Run by the sandbox's own Python, no server needed.

    seed.py CONFIG HOME
"""

from __future__ import annotations

import sys
from pathlib import Path

from radicale import config, storage


def main(conf: Path, home: str) -> None:
    store = storage.load(config.load([(str(conf), False)]))
    with store.acquire_lock("w"):
        if not list(store.discover(home)):
            store.create_collection(home, props={})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
