"""Rights to tickets and queues for the built-in roles of an installation that was there before them."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Id, Json

revision = "0002"
down_revision = "0001"

ROLE = sa.table("role", sa.column("id", Id), sa.column("name", sa.String), sa.column("built_in", sa.Boolean),
                sa.column("version", sa.Integer), sa.column("depths", Json))
ACCESS_VERSION = sa.table("access_version", sa.column("value", sa.Integer))
GIVEN = {
    "manager": {"queue": {"read": "all", "*": "tree"}},
    "sales": {"queue": {"read": "all"}, "ticket": {"read": "own", "create": "own"}},
    "service": {"queue": {"read": "all"}},
    "integrator": {"queue": {"read": "all"}},
}


def upgrade() -> None:
    """Give them; what an administrator has said of an entity already stays."""
    connection = op.get_bind()
    for role in connection.execute(sa.select(ROLE).where(ROLE.c.built_in, ROLE.c.name.in_(GIVEN))).all():
        depths = GIVEN[role.name] | role.depths
        if depths != role.depths:
            connection.execute(ROLE.update().where(ROLE.c.id == role.id)
                               .values(depths=depths, version=role.version + 1))
            connection.execute(ACCESS_VERSION.update().values(value=ACCESS_VERSION.c.value + 1))


def downgrade() -> None:
    """Leave them: a right to what is not there does no harm, and may be an administrator's own."""
