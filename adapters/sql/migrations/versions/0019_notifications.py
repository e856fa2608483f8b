"""What each channel is told of incidents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("keys", sa.JSON(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("owed", sa.Text()),
        sa.Column("told_at", TIME),
        sa.Column("due_at", TIME),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("ended_at", TIME),
        sa.Column("is_summary", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notifications"),
    )
    live = sa.text("ended_at IS NULL")
    op.create_index("ix_notifications_live", "notifications", ["channel"], sqlite_where=live, postgresql_where=live)
    op.create_index("ix_notifications_opened_at", "notifications", ["opened_at"])


def downgrade() -> None:
    op.drop_table("notifications")
