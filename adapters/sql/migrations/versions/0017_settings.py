"""Settings of the fleet and of single machines, a machine's own pause, and what observing one has told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fleet_settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("said_by", sa.Text(), nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_fleet_settings"),
    )
    op.add_column("machines", sa.Column("own", sa.JSON()))
    op.add_column("machines", sa.Column("rest", sa.JSON()))
    op.add_column("machines", sa.Column("observed_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    with op.batch_alter_table("machines") as machines:
        for name in ("observed_at", "rest", "own"):
            machines.drop_column(name)
    op.drop_table("fleet_settings")
