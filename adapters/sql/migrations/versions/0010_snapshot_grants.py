"""Which instance may keep a machine's snapshots, and the keys that must be taken back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "snapshot_grants",
        sa.Column("machine_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("granted_at", TIME, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("removed_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("machine_id", name="pk_snapshot_grants"),
    )
    op.add_column("debts", sa.Column("key_id", sa.Text()))


def downgrade() -> None:
    with op.batch_alter_table("debts") as debts:
        debts.drop_column("key_id")
    op.drop_table("snapshot_grants")
