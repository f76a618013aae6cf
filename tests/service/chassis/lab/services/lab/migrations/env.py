"""Alembic's door to the lab's database."""

from chassis.migrations import run
from services.lab.service import Base

run("lab", Base.metadata)
