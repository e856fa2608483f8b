"""The last beat before a silence: what comes up to it is a replay, also for a replica that did not hear it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("machines", sa.Column("last_sequence", sa.BigInteger()))


def downgrade() -> None:
    with op.batch_alter_table("machines") as machines:
        machines.drop_column("last_sequence")
