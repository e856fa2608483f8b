"""The schema, declared once with SQLModel. Statements are SQLAlchemy Core on the tables at the end of this file.

Core, because the ORM costs 2-4 ms a transaction (facts/performance.md, section 7). History (failovers, debts) bears a
machine's id without a foreign key: it outlives the machine.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlmodel import Field, SQLModel

from adapters.sql.columns import Prose, UtcDateTime, nested, serial

THE_ONE = 1
"""The key of the one row of `deployment` and of `pauses`."""

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _partial(name: str, column: str, where: str, unique: bool = False) -> Index:
    """An index over the few rows that are open; both databases have them, each under its own keyword."""
    condition = text(where)
    return Index(name, column, unique=unique, sqlite_where=condition, postgresql_where=condition)


class Row(SQLModel):
    """Our own metadata: SQLModel's is shared by everything in the process."""

    metadata: ClassVar[MetaData] = METADATA


class Deployment(Row, table=True):
    """One row: the id that every label of ours bears, made once."""

    __tablename__ = "deployment"

    one: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    id: str = Field(sa_column=Column(Text, nullable=False))


class Machines(Row, table=True):
    __tablename__ = "machines"
    __table_args__ = (
        Index("ix_machines_state", "state", "id"),
        _partial("ix_machines_primary_instance", "primary_instance", "primary_instance IS NOT NULL"),
        _partial("ix_machines_failover_id", "failover_id", "failover_id IS NOT NULL"),
    )

    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    name: str = Field(sa_column=Column(Prose, nullable=False))
    state: str = Field(sa_column=Column(Text, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    fence: int = Field(sa_column=Column(BigInteger, nullable=False))
    setting: str = Field(sa_column=Column(Text, nullable=False))
    mode: str = Field(sa_column=Column(Text, nullable=False))
    priority: int = Field(sa_column=Column(BigInteger, nullable=False))
    primary_instance: int | None = Field(sa_column=Column(BigInteger))
    host: int | None = Field(sa_column=Column(BigInteger))
    landlord: int | None = Field(sa_column=Column(BigInteger))
    is_interruptible: bool = Field(sa_column=Column(Boolean, nullable=False))
    ssh: dict[str, Any] | None = Field(sa_column=Column(nested()))
    host_key: str | None = Field(sa_column=Column(Prose))
    workspace_path: str = Field(sa_column=Column(Prose, nullable=False))
    workload: dict[str, Any] = Field(sa_column=Column(nested(), nullable=False))
    heartbeat_partition: int | None = Field(sa_column=Column(Integer))
    interval_s: float = Field(sa_column=Column(Double, nullable=False))
    boot_id: str = Field(sa_column=Column(Prose, nullable=False))
    last_sequence: int | None = Field(sa_column=Column(BigInteger))
    because: str = Field(sa_column=Column(Prose, nullable=False))
    since: datetime | None = Field(sa_column=Column(UtcDateTime))
    evidence: dict[str, Any] | None = Field(sa_column=Column(nested()))
    look_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    failover_id: str | None = Field(sa_column=Column(Text))
    last_failover: str | None = Field(sa_column=Column(Text))
    price_per_hour: float | None = Field(sa_column=Column(Double))
    volume: dict[str, Any] | None = Field(sa_column=Column(nested()))
    standby: dict[str, Any] | None = Field(sa_column=Column(nested()))
    cpu_standby: dict[str, Any] | None = Field(sa_column=Column(nested()))
    warm_pool: dict[str, Any] | None = Field(sa_column=Column(nested()))
    hold: dict[str, Any] | None = Field(sa_column=Column(nested()))
    queued_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    queue_asked_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    waits_for: str | None = Field(sa_column=Column(Text))
    suspicions: list[str] | None = Field(sa_column=Column(nested()))
    registered: dict[str, Any] | None = Field(sa_column=Column(nested()))
    beat_generation: int | None = Field(sa_column=Column(Integer))
    own: dict[str, Any] | None = Field(sa_column=Column(nested()))
    rest: dict[str, Any] | None = Field(sa_column=Column(nested()))
    observed_at: datetime | None = Field(sa_column=Column(UtcDateTime))


class Failovers(Row, table=True):
    """`running` is machines.model.Running as last saved; it stays after the end, for the proof that it holds."""

    __tablename__ = "failovers"
    __table_args__ = (
        # Architecture, section 4.7: one running failover per machine, by the database and not by a timer.
        _partial("uq_failovers_running", "machine_id", "ended_at IS NULL", unique=True),
        Index("ix_failovers_machine_id", "machine_id", "started_at"),
        Index("ix_failovers_started_at", "started_at", "id"),
        _partial("ix_failovers_unacknowledged", "ended_at", "acked_at IS NULL"),
    )

    id: str = Field(sa_column=Column(Text, primary_key=True))
    machine_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    setting: str = Field(sa_column=Column(Text, nullable=False))
    because: str = Field(sa_column=Column(Prose, nullable=False))
    asked_by: str = Field(sa_column=Column(Prose, nullable=False))
    command_id: str | None = Field(sa_column=Column(Text))
    evidence: dict[str, Any] | None = Field(sa_column=Column(nested()))
    old_instance: int | None = Field(sa_column=Column(BigInteger))
    running: dict[str, Any] = Field(sa_column=Column(nested(), nullable=False))
    started_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    ended_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    success: bool | None = Field(sa_column=Column(Boolean))
    strategy_succeeded: str | None = Field(sa_column=Column(Text))
    code: str | None = Field(sa_column=Column(Text))
    why: str | None = Field(sa_column=Column(Prose))
    new: dict[str, Any] | None = Field(sa_column=Column(nested()))
    reserved: float | None = Field(sa_column=Column(Double))
    """$ that it may come to; counts until `spent` is known."""
    reserved_per_hour: float | None = Field(sa_column=Column(Double))
    spent: float | None = Field(sa_column=Column(Double))
    """$ that its candidates have cost by our records, written at its end."""
    acked_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    """When a person said that they know of its end."""
    acked_by: str | None = Field(sa_column=Column(Prose))
    ack_comment: str | None = Field(sa_column=Column(Prose))


class Attempts(Row, table=True):
    __tablename__ = "attempts"

    failover_id: str = Field(sa_column=Column(Text, ForeignKey("failovers.id"), primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    rung: str = Field(sa_column=Column(Text, nullable=False))
    started_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    ended_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    code: str | None = Field(sa_column=Column(Text))
    why: str | None = Field(sa_column=Column(Prose))


class Journal(Row, table=True):
    """Only ever appended. The key is the order: two writers cannot both write the same place."""

    __tablename__ = "journal"

    failover_id: str = Field(sa_column=Column(Text, ForeignKey("failovers.id"), primary_key=True))
    attempt: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    fence: int = Field(sa_column=Column(BigInteger, nullable=False))
    step: str = Field(sa_column=Column(Text, nullable=False))
    mark: str = Field(sa_column=Column(Text, nullable=False))
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    candidate: int = Field(sa_column=Column(Integer, nullable=False))
    output: dict[str, Any] = Field(sa_column=Column(nested(), nullable=False))
    code: str | None = Field(sa_column=Column(Text))
    why: str | None = Field(sa_column=Column(Prose))
    until: datetime | None = Field(sa_column=Column(UtcDateTime))


class Debts(Row, table=True):
    """Open until `closed_at`; then paid or dropped."""

    __tablename__ = "debts"
    __table_args__ = (
        _partial("ix_debts_due_at", "due_at", "closed_at IS NULL"),
        Index("ix_debts_machine_id", "machine_id"),
        Index("ix_debts_failover_id", "failover_id"),
    )

    id: int | None = Field(default=None, sa_column=Column(serial(), primary_key=True, autoincrement=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    machine_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    failover_id: str | None = Field(sa_column=Column(Text))
    instance: int | None = Field(sa_column=Column(BigInteger))
    label: str | None = Field(sa_column=Column(Text))
    claimed_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    because: str = Field(sa_column=Column(Prose, nullable=False))
    tries: int = Field(sa_column=Column(Integer, nullable=False))
    due_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    last_error: str | None = Field(sa_column=Column(Prose))
    volume: int | None = Field(sa_column=Column(BigInteger))
    vm: dict[str, Any] | None = Field(sa_column=Column(nested()))
    key_id: str | None = Field(sa_column=Column(Prose))
    volume_row: int | None = Field(sa_column=Column(BigInteger))
    reserved: float | None = Field(sa_column=Column(Double))
    reserved_per_hour: float | None = Field(sa_column=Column(Double))
    closed_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    outcome: str | None = Field(sa_column=Column(Text))


class RegionalVolumes(Row, table=True):
    """The volumes that this deployment made or looks after, and the replicas of them. One that is gone has no row."""

    __tablename__ = "regional_volumes"
    __table_args__ = (
        _partial("uq_regional_volumes_handle", "handle", "handle IS NOT NULL", unique=True),
        _partial("uq_regional_volumes_volume", "volume", "volume IS NOT NULL", unique=True),
        Index("ix_regional_volumes_machine_id", "machine_id"),
        {"sqlite_autoincrement": True},
    )

    number: int | None = Field(default=None, sa_column=Column(serial(), primary_key=True, autoincrement=True))
    region: str = Field(sa_column=Column(Text, nullable=False))
    size_gb: int = Field(sa_column=Column(Integer, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    handle: int | None = Field(sa_column=Column(BigInteger))
    volume: int | None = Field(sa_column=Column(BigInteger))
    name: str | None = Field(sa_column=Column(Prose))
    machine_id: int | None = Field(sa_column=Column(BigInteger))
    host: int | None = Field(sa_column=Column(BigInteger))
    label: str | None = Field(sa_column=Column(Text))
    price_per_month: float | None = Field(sa_column=Column(Double))
    replica_of: int | None = Field(sa_column=Column(BigInteger))
    copied_from: int | None = Field(sa_column=Column(BigInteger))
    copied_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    seen: list[int] = Field(sa_column=Column(nested(), nullable=False))
    command_id: str | None = Field(sa_column=Column(Text))


class Outbox(Row, table=True):
    """What is to be appended to the event log, in the order of its ids; an id is never used twice."""

    __tablename__ = "outbox"
    __table_args__ = (
        _partial("ix_outbox_unsent", "id", "sent_at IS NULL"),
        _partial("ix_outbox_sent_at", "sent_at", "sent_at IS NOT NULL"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, sa_column=Column(serial(), primary_key=True, autoincrement=True))
    topic: str = Field(sa_column=Column(Text, nullable=False))
    key: bytes | None = Field(sa_column=Column(LargeBinary))
    value: bytes | None = Field(sa_column=Column(LargeBinary))
    headers: list[list[str]] = Field(sa_column=Column(nested(), nullable=False))
    log_partition: int | None = Field(sa_column=Column(Integer))
    sent_at: datetime | None = Field(sa_column=Column(UtcDateTime))


class Commands(Row, table=True):
    """Both doors meet here: the first row of a command id is the command, any other is a repetition."""

    __tablename__ = "commands"
    __table_args__ = (
        Index("ix_commands_failover_id", "failover_id"),
        _partial("ix_commands_open", "received_at", "answered_at IS NULL"),
    )

    command_id: str = Field(sa_column=Column(Text, primary_key=True))
    door: str = Field(sa_column=Column(Text, nullable=False))
    command: str = Field(sa_column=Column(Text, nullable=False))
    machine_id: int | None = Field(sa_column=Column(BigInteger))
    fingerprint: str = Field(sa_column=Column(Text, nullable=False))
    body: dict[str, Any] = Field(sa_column=Column(nested(), nullable=False))
    received_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    expires_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    failover_id: str | None = Field(sa_column=Column(Text))
    status: str = Field(sa_column=Column(Text, nullable=False))
    answer: dict[str, Any] | None = Field(sa_column=Column(nested()))
    http_status: int | None = Field(sa_column=Column(Integer))
    answered_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    asked_by: str | None = Field(sa_column=Column(Prose))


class Pauses(Row, table=True):
    """One row, there from the first migration on: paused where `until` is set, stormy where `storm_since` is. Admission
    locks it."""

    __tablename__ = "pauses"

    one: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    reason: str | None = Field(sa_column=Column(Prose))
    until: datetime | None = Field(sa_column=Column(UtcDateTime))
    by: str | None = Field(sa_column=Column(Prose))
    budget_from: datetime | None = Field(sa_column=Column(UtcDateTime))
    """When a pause was last lifted: what was spent before is forgiven."""
    storm_since: datetime | None = Field(sa_column=Column(UtcDateTime))
    storm_seen_at: datetime | None = Field(sa_column=Column(UtcDateTime))


class FleetSettings(Row, table=True):
    """What the API, a command or the command line said of the whole fleet's policy; the rest is the file's."""

    __tablename__ = "fleet_settings"

    name: str = Field(sa_column=Column(Text, primary_key=True))
    value: Any = Field(sa_column=Column(nested(), nullable=False))
    said_by: str = Field(sa_column=Column(Prose, nullable=False))
    said_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class Alerts(Row, table=True):
    __tablename__ = "alerts"
    __table_args__ = (_partial("uq_alerts_open", "key", "resolved_at IS NULL", unique=True),)

    id: int | None = Field(default=None, sa_column=Column(serial(), primary_key=True, autoincrement=True))
    key: str = Field(sa_column=Column(Text, nullable=False))
    text: str = Field(sa_column=Column(Prose, nullable=False))
    opened_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    repeated_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    count: int = Field(sa_column=Column(Integer, nullable=False))
    resolved_at: datetime | None = Field(sa_column=Column(UtcDateTime))


class Notifications(Row, table=True):
    """What each channel is told of incidents (machines/notifications.py), from the beginning to the end of each."""

    __tablename__ = "notifications"
    __table_args__ = (
        _partial("ix_notifications_live", "channel", "ended_at IS NULL"),
        Index("ix_notifications_opened_at", "opened_at"),
    )

    id: int | None = Field(default=None, sa_column=Column(serial(), primary_key=True, autoincrement=True))
    channel: str = Field(sa_column=Column(Text, nullable=False))
    keys: list[str] = Field(sa_column=Column(nested(), nullable=False))
    ref: str = Field(sa_column=Column(Text, nullable=False))
    level: int = Field(sa_column=Column(Integer, nullable=False))
    text: str = Field(sa_column=Column(Prose, nullable=False))
    opened_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    owed: str | None = Field(sa_column=Column(Text))
    told_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    due_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    tries: int = Field(sa_column=Column(Integer, nullable=False))
    last_error: str | None = Field(sa_column=Column(Prose))
    ended_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    is_summary: bool = Field(sa_column=Column(Boolean, nullable=False))


class Leases(Row, table=True):
    """Which replica works on what (machines/lease.py): a failover by its id, or the jobs of the whole fleet."""

    __tablename__ = "leases"

    name: str = Field(sa_column=Column(Text, primary_key=True))
    holder: str = Field(sa_column=Column(Text, nullable=False))
    renewals: int = Field(sa_column=Column(BigInteger, nullable=False))


class FirstBeats(Row, table=True):
    """The first beat of the newest boot of an instance that is no machine's yet. It goes when the machine's failover ends."""

    __tablename__ = "first_beats"
    __table_args__ = (Index("ix_first_beats_machine_id", "machine_id"),)

    instance_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    machine_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    boot_id: str = Field(sa_column=Column(Text, nullable=False))
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))


class Turns(Row, table=True):
    """When each of the provider's routes may be called again, by the database's own clock in seconds since the epoch."""

    __tablename__ = "turns"

    route: str = Field(sa_column=Column(Text, primary_key=True))
    free_at: float = Field(sa_column=Column(Double, nullable=False))


class SnapshotGrants(Row, table=True):
    """Which instance was last told to take a machine's snapshots. The row outlives the machine, as its snapshots do."""

    __tablename__ = "snapshot_grants"

    machine_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    instance_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    fence: int = Field(sa_column=Column(BigInteger, nullable=False))
    digest: str = Field(sa_column=Column(Text, nullable=False))
    """Of the order that was laid down: another one is laid down where it would read otherwise now."""
    granted_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    """When this instance was first told so."""
    key_id: str | None = Field(sa_column=Column(Prose))
    """Of the key of its own that it was given, where the store has such keys."""
    removed_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    """When the machine was seen to be no more."""


class WorkspaceCopies(Row, table=True):
    """The last good copy of each workspace that a CPU VM has, as it was told when it was done."""

    __tablename__ = "workspace_copies"

    machine_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    copy_id: str = Field(sa_column=Column(Text, nullable=False))
    vm_id: str = Field(sa_column=Column(Text, nullable=False))
    """Of 64 bits without a sign, which no integer column has."""
    instance_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    taken_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    files: int = Field(sa_column=Column(BigInteger, nullable=False))
    size_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    host_key: str = Field(sa_column=Column(Prose, nullable=False))


class WebhookEvents(Row, table=True):
    """Letters of the provider's that came: each is acted on once."""

    __tablename__ = "webhook_events"
    __table_args__ = (Index("ix_webhook_events_received_at", "received_at"),)

    event_id: str = Field(sa_column=Column(Text, primary_key=True))
    received_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class Webhooks(Row, table=True):
    """The secret of the webhook to this address: the provider shows it once."""

    __tablename__ = "webhooks"

    url: str = Field(sa_column=Column(Text, primary_key=True))
    secret: str = Field(sa_column=Column(Text, nullable=False))
    made_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class Hosts(Row, table=True):
    """What came of our rentals on each host of the provider's (machines/reputation.py)."""

    __tablename__ = "hosts"
    __table_args__ = (Index("ix_hosts_last_boot_at", "last_boot_at"),)

    host: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    boots: int = Field(sa_column=Column(Integer, nullable=False))
    dead_boots: int = Field(sa_column=Column(Integer, nullable=False))
    deaths_in_a_row: int = Field(sa_column=Column(Integer, nullable=False))
    last_boot_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    last_death_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    bad_until: datetime | None = Field(sa_column=Column(UtcDateTime))


class LostThings(Row, table=True):
    """What is paid for and belongs to no machine, as the last look saw it (machines/lost.py)."""

    __tablename__ = "lost_things"

    kind: str = Field(sa_column=Column(Text, primary_key=True))
    id: str = Field(sa_column=Column(Text, primary_key=True))
    standing: str = Field(sa_column=Column(Text, nullable=False))
    label: str = Field(sa_column=Column(Prose, nullable=False))
    machine_id: int | None = Field(sa_column=Column(BigInteger))
    price_per_hour: float | None = Field(sa_column=Column(Double))
    size_gb: float | None = Field(sa_column=Column(Double))
    detail: str = Field(sa_column=Column(Prose, nullable=False))
    first_seen_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class Rentals(Row, table=True):
    """For whom each instance was rented, written when we learn its number; it outlives both, for the bill."""

    __tablename__ = "rentals"

    instance_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    machine_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    failover_id: str | None = Field(sa_column=Column(Text))
    was_primary: bool = Field(sa_column=Column(Boolean, nullable=False))
    """It embodied the machine once: whatever its label says, it is its owner's to destroy."""
    known_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class Charges(Row, table=True):
    """The provider's own bill, a row for each thing and month (machines/charges.py)."""

    __tablename__ = "charges"

    what: str = Field(sa_column=Column(Text, primary_key=True))
    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    month: str = Field(sa_column=Column(Text, primary_key=True))
    amount: float = Field(sa_column=Column(Double, nullable=False))
    machine_id: int | None = Field(sa_column=Column(BigInteger))
    read_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class Tokens(Row, table=True):
    """Only digests: no secret can be read here. A name may come again once its token was revoked."""

    __tablename__ = "tokens"
    __table_args__ = (_partial("uq_tokens_unrevoked", "name", "revoked_at IS NULL", unique=True),)

    number: int | None = Field(default=None, sa_column=Column(serial(), primary_key=True, autoincrement=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    digest: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    scope: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    created_by: str = Field(sa_column=Column(Prose, nullable=False))
    machine_id: int | None = Field(sa_column=Column(BigInteger))
    expires_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    last_used_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    revoked_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    revoked_by: str | None = Field(sa_column=Column(Prose))


class BeatGenerations(Row, table=True):
    """How often a machine's beat token was revoked; it outlives the machine, or a revoked token would live again."""

    __tablename__ = "beat_generations"

    machine_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    generation: int = Field(sa_column=Column(Integer, nullable=False))


class Audit(Row, table=True):
    """Who changed what, through which door and why; only ever appended to."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_machine_id", "machine_id", "number"),)

    number: int | None = Field(default=None, sa_column=Column(serial(), primary_key=True, autoincrement=True))
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    asked_by: str = Field(sa_column=Column(Prose, nullable=False))
    door: str = Field(sa_column=Column(Text, nullable=False))
    what: str = Field(sa_column=Column(Prose, nullable=False))
    machine_id: int | None = Field(sa_column=Column(BigInteger))
    subject: str | None = Field(sa_column=Column(Prose))
    reason: str | None = Field(sa_column=Column(Prose))
    detail: dict[str, Any] = Field(sa_column=Column(nested(), nullable=False))


def _table(name: str) -> Table:
    return METADATA.tables[name]


DEPLOYMENT = _table("deployment")
MACHINES = _table("machines")
FAILOVERS = _table("failovers")
ATTEMPTS = _table("attempts")
JOURNAL = _table("journal")
DEBTS = _table("debts")
OUTBOX = _table("outbox")
COMMANDS = _table("commands")
PAUSES = _table("pauses")
FLEET_SETTINGS = _table("fleet_settings")
ALERTS = _table("alerts")
LEASES = _table("leases")
FIRST_BEATS = _table("first_beats")
TURNS = _table("turns")
SNAPSHOT_GRANTS = _table("snapshot_grants")
WEBHOOK_EVENTS = _table("webhook_events")
WEBHOOKS = _table("webhooks")
HOSTS = _table("hosts")
REGIONAL_VOLUMES = _table("regional_volumes")
LOST_THINGS = _table("lost_things")
RENTALS = _table("rentals")
CHARGES = _table("charges")
TOKENS = _table("tokens")
BEAT_GENERATIONS = _table("beat_generations")
AUDIT = _table("audit")
WORKSPACE_COPIES = _table("workspace_copies")
NOTIFICATIONS = _table("notifications")
