"""What instances said that are no machine's yet: a failover may be worked on by another replica than the one that hears."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "first_beats",
        sa.Column("instance_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("machine_id", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_first_beats"),
    )
    op.create_index("ix_first_beats_machine_id", "first_beats", ["machine_id"])


def downgrade() -> None:
    op.drop_table("first_beats")
