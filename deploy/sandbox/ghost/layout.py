"""Where a sandbox Ghost keeps its things, and how it speaks to the person at the terminal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import serving

NAME = "ghost"
say = partial(serving.say, NAME)


@dataclass(frozen=True, kw_only=True)
class Sandbox(serving.Place):
    """Where one sandbox keeps its things and how it is served. Its secrets are `owner` and `webhook`."""

    app: Path

    @property
    def content(self) -> Path:
        return self.state / "content"
