"""What a task or an activity is about: a record here or in another room."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id


class About:
    """A reference to a record of any room."""

    subject_entity: Mapped[str | None] = mapped_column(String(20), default=None)
    subject_id: Mapped[str | None] = mapped_column(Id, default=None)

    @property
    def subject(self) -> dict[str, str] | None:
        """The record as `{entity, id}`, or None."""
        if self.subject_entity is None or self.subject_id is None:
            return None
        return {"entity": self.subject_entity, "id": self.subject_id}

    @subject.setter
    def subject(self, value: Mapping[str, str] | None) -> None:
        self.subject_entity = value["entity"] if value else None
        self.subject_id = value["id"] if value else None
