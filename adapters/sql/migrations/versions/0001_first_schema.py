"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
NESTED = sa.JSON()
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_fleet()
    _create_machines()
    _create_failovers()
    _create_attempts()
    _create_debts()
    _create_commands()
    # Not paused; admission locks this row, so it is there before anybody asks.
    op.execute("INSERT INTO pauses (one) VALUES (1)")


def downgrade() -> None:
    for table in (
        "alerts",
        "commands",
        "outbox",
        "debts",
        "journal",
        "attempts",
        "failovers",
        "machines",
        "pauses",
        "deployment",
    ):
        op.drop_table(table)


def _open_index(name: str, table: str, columns: list[str], where: str, unique: bool = False) -> None:
    """Over the open rows only; each database has its own keyword for that."""
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _create_fleet() -> None:
    op.create_table(
        "deployment",
        sa.Column("one", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_deployment"),
    )
    op.create_table(
        "pauses",
        sa.Column("one", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("until", TIME),
        sa.Column("by", sa.Text()),
        sa.PrimaryKeyConstraint("one", name="pk_pauses"),
    )
    op.create_table(
        "alerts",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("repeated_at", TIME, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("resolved_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
    )
    _open_index("uq_alerts_open", "alerts", ["key"], "resolved_at IS NULL", unique=True)


def _create_machines() -> None:
    op.create_table(
        "machines",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("setting", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("primary_instance", sa.BigInteger()),
        sa.Column("host", sa.BigInteger()),
        sa.Column("landlord", sa.BigInteger()),
        sa.Column("is_interruptible", sa.Boolean(), nullable=False),
        sa.Column("ssh", NESTED),
        sa.Column("host_key", sa.Text()),
        sa.Column("workspace_path", sa.Text(), nullable=False),
        sa.Column("workload", NESTED, nullable=False),
        sa.Column("heartbeat_partition", sa.Integer()),
        sa.Column("interval_s", sa.Double(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("since", TIME),
        sa.Column("evidence", NESTED),
        sa.Column("look_at", TIME),
        sa.Column("failover_id", sa.Text()),
        sa.Column("last_failover", sa.Text()),
        sa.Column("price_per_hour", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_machines"),
    )
    _open_index("ix_machines_look_at", "machines", ["look_at"], "look_at IS NOT NULL")
    _open_index("ix_machines_primary_instance", "machines", ["primary_instance"], "primary_instance IS NOT NULL")
    op.create_index("ix_machines_state", "machines", ["state", "id"])


def _create_failovers() -> None:
    op.create_table(
        "failovers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("setting", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("command_id", sa.Text()),
        sa.Column("evidence", NESTED),
        sa.Column("old_instance", sa.BigInteger()),
        sa.Column("running", NESTED, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("success", sa.Boolean()),
        sa.Column("strategy_succeeded", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("why", sa.Text()),
        sa.Column("new", NESTED),
        sa.PrimaryKeyConstraint("id", name="pk_failovers"),
    )
    op.create_index("ix_failovers_machine_id", "failovers", ["machine_id", "started_at"])
    op.create_index("ix_failovers_started_at", "failovers", ["started_at", "id"])
    _open_index("uq_failovers_running", "failovers", ["machine_id"], "ended_at IS NULL", unique=True)


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("failover_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rung", sa.Text(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("code", sa.Text()),
        sa.Column("why", sa.Text()),
        sa.ForeignKeyConstraint(["failover_id"], ["failovers.id"], name="fk_attempts_failover_id"),
        sa.PrimaryKeyConstraint("failover_id", "number", name="pk_attempts"),
    )
    op.create_table(
        "journal",
        sa.Column("failover_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("candidate", sa.Integer(), nullable=False),
        sa.Column("output", NESTED, nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("why", sa.Text()),
        sa.Column("until", TIME),
        sa.ForeignKeyConstraint(["failover_id"], ["failovers.id"], name="fk_journal_failover_id"),
        sa.PrimaryKeyConstraint("failover_id", "attempt", "seq", name="pk_journal"),
    )


def _create_debts() -> None:
    op.create_table(
        "debts",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.BigInteger(), nullable=False),
        sa.Column("failover_id", sa.Text()),
        sa.Column("instance", sa.BigInteger()),
        sa.Column("label", sa.Text()),
        sa.Column("claimed_at", TIME),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", TIME),
        sa.Column("last_error", sa.Text()),
        sa.Column("closed_at", TIME),
        sa.Column("outcome", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_debts"),
    )
    _open_index("ix_debts_due_at", "debts", ["due_at"], "closed_at IS NULL")
    op.create_index("ix_debts_failover_id", "debts", ["failover_id"])
    op.create_index("ix_debts_machine_id", "debts", ["machine_id"])
    op.create_table(
        "outbox",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary()),
        sa.Column("value", sa.LargeBinary()),
        sa.Column("headers", NESTED, nullable=False),
        sa.Column("log_partition", sa.Integer()),
        sa.Column("sent_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    _open_index("ix_outbox_sent_at", "outbox", ["sent_at"], "sent_at IS NOT NULL")
    _open_index("ix_outbox_unsent", "outbox", ["id"], "sent_at IS NULL")


def _create_commands() -> None:
    op.create_table(
        "commands",
        sa.Column("command_id", sa.Text(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.BigInteger()),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("body", NESTED, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("failover_id", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("answer", NESTED),
        sa.Column("http_status", sa.Integer()),
        sa.Column("answered_at", TIME),
        sa.PrimaryKeyConstraint("command_id", name="pk_commands"),
    )
    op.create_index("ix_commands_failover_id", "commands", ["failover_id"])
    _open_index("ix_commands_open", "commands", ["received_at"], "answered_at IS NULL")
