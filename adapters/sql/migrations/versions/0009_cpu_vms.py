"""CPU VMs: which one a machine has, and which one a debt is about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("machines", sa.Column("cpu_standby", sa.JSON()))
    op.add_column("debts", sa.Column("vm", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("debts") as debts:
        debts.drop_column("vm")
    with op.batch_alter_table("machines") as machines:
        machines.drop_column("cpu_standby")
