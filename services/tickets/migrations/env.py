"""Alembic's door to the tickets database."""

from chassis.migrations import run
from services.tickets.models import Base

run("tickets", Base.metadata)
