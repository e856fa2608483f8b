"""A machine whose failover ended without a hand-over may be held: nothing is concluded from its silence for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("machines", sa.Column("hold", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("machines") as machines:
        machines.drop_column("hold")
