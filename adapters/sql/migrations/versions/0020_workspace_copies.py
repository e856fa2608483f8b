"""What copy of its machine's workspace each CPU VM has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from adapters.sql.columns import Prose, UtcDateTime

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workspace_copies",
        sa.Column("machine_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("copy_id", sa.Text(), nullable=False),
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", UtcDateTime(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("host_key", Prose(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("workspace_copies")
