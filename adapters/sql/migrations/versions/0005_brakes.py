"""The brakes: the queue of dead machines, their suspicions, the storm, and since when the budgets count."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MACHINES = ("queued_at", "queue_asked_at")
_PAUSES = ("budget_from", "storm_since", "storm_seen_at")


def upgrade() -> None:
    for name in _MACHINES:
        op.add_column("machines", sa.Column(name, sa.DateTime(timezone=True)))
    op.add_column("machines", sa.Column("waits_for", sa.Text()))
    op.add_column("machines", sa.Column("suspicions", sa.JSON()))
    for name in _PAUSES:
        op.add_column("pauses", sa.Column(name, sa.DateTime(timezone=True)))
    op.drop_index("ix_machines_look_at", "machines")  # Alarms are rung from memory, and read once at a start.
    in_failover = sa.text("failover_id IS NOT NULL")
    op.create_index(
        "ix_machines_failover_id", "machines", ["failover_id"], sqlite_where=in_failover, postgresql_where=in_failover
    )


def downgrade() -> None:
    op.drop_index("ix_machines_failover_id", "machines")
    is_set = sa.text("look_at IS NOT NULL")
    op.create_index("ix_machines_look_at", "machines", ["look_at"], sqlite_where=is_set, postgresql_where=is_set)
    with op.batch_alter_table("pauses") as pauses:
        for name in _PAUSES:
            pauses.drop_column(name)
    with op.batch_alter_table("machines") as machines:
        for name in (*_MACHINES, "waits_for", "suspicions"):
            machines.drop_column(name)
