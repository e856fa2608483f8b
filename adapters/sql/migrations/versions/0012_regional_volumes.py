"""The volumes that this deployment makes, with their replicas; debts may be about one that has no id yet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("debts", sa.Column("volume_row", sa.BigInteger()))
    op.create_table(
        "regional_volumes",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("size_gb", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("handle", sa.BigInteger()),
        sa.Column("volume", sa.BigInteger()),
        sa.Column("name", sa.Text()),
        sa.Column("machine_id", sa.BigInteger()),
        sa.Column("host", sa.BigInteger()),
        sa.Column("label", sa.Text()),
        sa.Column("price_per_month", sa.Double()),
        sa.Column("replica_of", sa.BigInteger()),
        sa.Column("copied_from", sa.BigInteger()),
        sa.Column("copied_at", TIME),
        sa.Column("seen", sa.JSON(), nullable=False),
        sa.Column("command_id", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="pk_regional_volumes"),
        sqlite_autoincrement=True,
    )
    for column in ("handle", "volume"):
        condition = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"uq_regional_volumes_{column}",
            "regional_volumes",
            [column],
            unique=True,
            sqlite_where=condition,
            postgresql_where=condition,
        )
    op.create_index("ix_regional_volumes_machine_id", "regional_volumes", ["machine_id"])


def downgrade() -> None:
    op.drop_table("regional_volumes")
    with op.batch_alter_table("debts") as debts:
        debts.drop_column("volume_row")
