"""For whom each instance was rented, and what the provider charges for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rentals",
        sa.Column("instance_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("machine_id", sa.BigInteger(), nullable=False),
        sa.Column("failover_id", sa.Text()),
        sa.Column("was_primary", sa.Boolean(), nullable=False),
        sa.Column("known_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_rentals"),
    )
    op.create_table(
        "charges",
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.Column("machine_id", sa.BigInteger()),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("what", "id", "month", name="pk_charges"),
    )


def downgrade() -> None:
    op.drop_table("charges")
    op.drop_table("rentals")
