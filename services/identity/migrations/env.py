"""Alembic's entry: everything is in the chassis."""

from chassis.migrations import run
from services.identity.models import Base

run("identity", Base.metadata)
