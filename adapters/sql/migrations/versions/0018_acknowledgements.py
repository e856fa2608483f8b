"""Who has looked at a failover that ended. Those that ended before this was kept need nobody's look any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("failovers", sa.Column("acked_at", sa.DateTime(timezone=True)))
    op.add_column("failovers", sa.Column("acked_by", sa.Text()))
    op.add_column("failovers", sa.Column("ack_comment", sa.Text()))
    op.execute("UPDATE failovers SET acked_at = ended_at, acked_by = 'failoverd' WHERE ended_at IS NOT NULL")
    op.create_index(
        "ix_failovers_unacknowledged",
        "failovers",
        ["ended_at"],
        sqlite_where=sa.text("acked_at IS NULL"),
        postgresql_where=sa.text("acked_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_failovers_unacknowledged", "failovers")
    with op.batch_alter_table("failovers") as failovers:
        for name in ("ack_comment", "acked_by", "acked_at"):
            failovers.drop_column(name)
