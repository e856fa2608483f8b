"""The provider's webhooks, what hosts have come to, and what our rentals cost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook_events",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_webhook_events"),
    )
    op.create_index("ix_webhook_events_received_at", "webhook_events", ["received_at"])
    op.create_table(
        "webhooks",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("url", name="pk_webhooks"),
    )
    op.create_table(
        "hosts",
        sa.Column("host", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("boots", sa.Integer(), nullable=False),
        sa.Column("dead_boots", sa.Integer(), nullable=False),
        sa.Column("deaths_in_a_row", sa.Integer(), nullable=False),
        sa.Column("last_boot_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_death_at", sa.DateTime(timezone=True)),
        sa.Column("bad_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("host", name="pk_hosts"),
    )
    op.create_index("ix_hosts_last_boot_at", "hosts", ["last_boot_at"])
    for name in ("reserved", "reserved_per_hour", "spent"):
        op.add_column("failovers", sa.Column(name, sa.Double()))


def downgrade() -> None:
    with op.batch_alter_table("failovers") as failovers:
        for name in ("spent", "reserved_per_hour", "reserved"):
            failovers.drop_column(name)
    op.drop_table("hosts")
    op.drop_table("webhooks")
    op.drop_table("webhook_events")
