"""Machines may lie on a volume and have a standby beside it; debts may be about a volume."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("machines", sa.Column("volume", sa.JSON()))
    op.add_column("machines", sa.Column("standby", sa.JSON()))
    op.add_column("debts", sa.Column("volume", sa.BigInteger()))


def downgrade() -> None:
    with op.batch_alter_table("debts") as debts:
        debts.drop_column("volume")
    with op.batch_alter_table("machines") as machines:
        machines.drop_column("standby")
        machines.drop_column("volume")
