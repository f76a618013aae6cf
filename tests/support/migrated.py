"""Databases at the newest revision, as copies of one that was migrated before: a test costs no migration."""

from __future__ import annotations

import tempfile
from pathlib import Path

import sqlalchemy as sa

from chassis import migrations
from tests.support.postgres import Postgres

_FILES: dict[str, bytes] = {}
_TEMPLATES: dict[tuple[int, str], str] = {}
_COPIES: set[str] = set()


def create_migrated(cluster: Postgres, room: str) -> str:
    """Create a database at a room's newest revision; return its name."""
    if (cluster.port, room) not in _TEMPLATES:
        template = cluster.create_database()
        migrations.upgrade(room, cluster.uri(template))
        _TEMPLATES[cluster.port, room] = template
    name = cluster.create_database(_TEMPLATES[cluster.port, room])
    _COPIES.add(name)
    return name


def bring_up_to_date(room: str, db_uri: str) -> None:
    """Bring a room's database to the newest revision, unless it is a copy that is there already."""
    url = sa.make_url(db_uri)
    name = str(url.database)
    if url.get_backend_name() == "sqlite" and not Path(name).exists():
        _copy_file(room, Path(name))
    elif name not in _COPIES:
        migrations.upgrade(room, db_uri)


def _copy_file(room: str, file: Path) -> None:
    if room not in _FILES:
        with tempfile.TemporaryDirectory() as folder:
            template = Path(folder) / "template.sqlite"
            migrations.upgrade(room, f"sqlite:///{template}")
            _FILES[room] = template.read_bytes()
    file.touch(mode=0o600)
    file.write_bytes(_FILES[room])
