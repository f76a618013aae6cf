"""The trail of every ticket."""

from __future__ import annotations

from sqlalchemy import Index

from chassis.history import FieldChangeColumns
from services.tickets.models.base import Base


class FieldChange(FieldChangeColumns, Base):
    """One field's change."""

    __tablename__ = "field_change"
    __table_args__ = (Index("ix_field_change_record_id_id", "record_id", "id"),)
