"""What is rented ahead for a machine because an operator asked for it, and what a debt that rents has reserved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("machines", sa.Column("warm_pool", sa.JSON()))
    op.add_column("debts", sa.Column("reserved", sa.Double()))
    op.add_column("debts", sa.Column("reserved_per_hour", sa.Double()))


def downgrade() -> None:
    with op.batch_alter_table("debts") as debts:
        debts.drop_column("reserved_per_hour")
        debts.drop_column("reserved")
    with op.batch_alter_table("machines") as machines:
        machines.drop_column("warm_pool")
