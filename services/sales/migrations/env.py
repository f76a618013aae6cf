"""Alembic's door to the sales database."""

from chassis.migrations import run
from services.sales.models import Base

run("sales", Base.metadata)
