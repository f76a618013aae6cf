"""Queues and who answers them."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from chassis.database import ByteOrdered, Id
from services.tickets.models.base import Base, Versioned


class QueueMember(Base):
    """Somebody who answers a queue; `place` is the order in which they joined."""

    __tablename__ = "queue_member"

    queue_id: Mapped[str] = mapped_column(Id, ForeignKey("queue.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, primary_key=True)
    place: Mapped[int]

    __table_args__ = (Index("ix_queue_member_user_id", "user_id", "queue_id"),)


class Queue(Versioned, Base):
    """Where tickets wait for a member.

    Its row is the lock under which its tickets are given out and claimed. `last_place` is the place of the member who
    got the last one; it is no change of the queue and raises no version.
    """

    __tablename__ = "queue"

    name: Mapped[str] = mapped_column(ByteOrdered(100), unique=True)
    strategy: Mapped[str] = mapped_column(String(20))
    max_open: Mapped[int | None] = mapped_column(default=None)
    team_id: Mapped[str | None] = mapped_column(Id, default=None)
    active: Mapped[bool] = mapped_column(default=True)
    last_place: Mapped[int] = mapped_column(default=0)

    memberships: Mapped[list[QueueMember]] = relationship(
        order_by=QueueMember.place, cascade="all, delete-orphan", lazy="selectin")

    __table_args__ = (CheckConstraint("max_open > 0", name="max_open"),)

    @property
    def members(self) -> list[str]:
        """The users who answer it, in the order in which they joined."""
        return [membership.user_id for membership in self.memberships]
