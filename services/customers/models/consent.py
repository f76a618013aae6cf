"""What a customer or contact has said of being written to or called."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Json


class Consenting:
    """A record with a consent per channel; `consent` is `{channel: {state, at, source}}`, its times aware."""

    consents: Mapped[dict[str, Any]] = mapped_column("consent", Json, default=dict)

    @property
    def consent(self) -> dict[str, dict[str, Any]]:
        """What was said of each channel, when and where."""
        return {channel: {**said, "at": dt.datetime.fromisoformat(said["at"])}
                for channel, said in (self.consents or {}).items()}

    @consent.setter
    def consent(self, value: Mapping[str, Mapping[str, Any]]) -> None:
        self.consents = {channel: {**said, "at": said["at"].isoformat()} for channel, said in value.items()}
