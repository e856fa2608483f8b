"""When a machine's id began to mean this machine, and under which fence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("machines", sa.Column("registered", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("machines") as machines:
        machines.drop_column("registered")
