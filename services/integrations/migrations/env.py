"""Alembic's entry: everything is in the chassis."""

from chassis.migrations import run
from services.integrations.models import Base

run("integrations", Base.metadata)
