"""Alembic's door to the customers database."""

from chassis.migrations import run
from services.customers.models import Base

run("customers", Base.metadata)
