"""A run keeps with its counts how much it asks a person to confirm; nobody counts its findings when it is read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import Id, Json

revision = "0020"
down_revision = "0019"

_RUN = sa.table("run", sa.column("id", Id), sa.column("state", sa.String), sa.column("counts", Json))
_FINDING = sa.table("finding", sa.column("run_id", Id), sa.column("state", sa.String))


def upgrade() -> None:
    """Count, once, what has been decided of the runs that have not ended."""
    _add(1)


def downgrade() -> None:
    """Take it out again: whoever reads such a run counts for himself."""
    _add(-1)


def _add(sign: int) -> None:
    decided = (sa.select(_RUN.c.id, _RUN.c.counts, sa.func.count().label("many"))
               .join(_FINDING, sa.and_(_FINDING.c.run_id == _RUN.c.id, _FINDING.c.state == "decided"))
               .where(_RUN.c.state.in_(("running", "awaiting_approval"))).group_by(_RUN.c.id))
    for id, counts, many in op.get_bind().execute(decided).all():
        more = {"to_confirm": counts.get("to_confirm", 0) + sign * many}
        op.get_bind().execute(sa.update(_RUN).where(_RUN.c.id == id).values(counts=counts | more))
