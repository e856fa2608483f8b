"""One transaction: all that can be read and changed in it. Nothing else in the project speaks SQL."""

from __future__ import annotations

from adapters.sql.audit_tx import AuditStatements
from adapters.sql.beats_tx import BeatStatements
from adapters.sql.charges_tx import ChargeStatements
from adapters.sql.commands_tx import CommandStatements
from adapters.sql.copies_tx import CopyStatements
from adapters.sql.crowd_tx import CrowdStatements
from adapters.sql.fleet_tx import FleetStatements
from adapters.sql.hosts_tx import HostStatements
from adapters.sql.journal_tx import JournalStatements
from adapters.sql.leases_tx import LeaseStatements
from adapters.sql.lost_tx import LostStatements
from adapters.sql.machines_tx import MachineStatements
from adapters.sql.notifications_tx import NotificationStatements
from adapters.sql.outbox_tx import OutboxStatements
from adapters.sql.report_tx import ReportStatements
from adapters.sql.retention_tx import RetentionStatements
from adapters.sql.settings_tx import SettingsStatements
from adapters.sql.snapshots_tx import SnapshotStatements
from adapters.sql.tokens_tx import TokenStatements
from adapters.sql.turns_tx import TurnStatements
from adapters.sql.volumes_tx import VolumeStatements
from adapters.sql.webhooks_tx import WebhookStatements


class Tx(
    MachineStatements,
    CrowdStatements,
    JournalStatements,
    OutboxStatements,
    CommandStatements,
    FleetStatements,
    SettingsStatements,
    LeaseStatements,
    LostStatements,
    ChargeStatements,
    BeatStatements,
    TurnStatements,
    SnapshotStatements,
    CopyStatements,
    ReportStatements,
    WebhookStatements,
    HostStatements,
    NotificationStatements,
    VolumeStatements,
    TokenStatements,
    AuditStatements,
    RetentionStatements,
):
    """Made by `SqlStore.transaction`; commits or vanishes as a whole, and is of no use after that."""
