"""Tokens with a scope, which beat tokens were revoked, and who changed what through which door."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def _serial() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("number", _serial(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.BigInteger()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_by", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="pk_tokens"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
    )
    unrevoked = sa.text("revoked_at IS NULL")
    op.create_index(
        "uq_tokens_unrevoked", "tokens", ["name"], unique=True, sqlite_where=unrevoked, postgresql_where=unrevoked
    )
    op.create_table(
        "beat_generations",
        sa.Column("machine_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("machine_id", name="pk_beat_generations"),
    )
    op.create_table(
        "audit",
        sa.Column("number", _serial(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.BigInteger()),
        sa.Column("subject", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_index("ix_audit_machine_id", "audit", ["machine_id", "number"])
    op.add_column("commands", sa.Column("asked_by", sa.Text()))
    op.add_column("machines", sa.Column("beat_generation", sa.Integer()))


def downgrade() -> None:
    with op.batch_alter_table("machines") as machines:
        machines.drop_column("beat_generation")
    with op.batch_alter_table("commands") as commands:
        commands.drop_column("asked_by")
    op.drop_table("audit")
    op.drop_table("beat_generations")
    op.drop_table("tokens")
