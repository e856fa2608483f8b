"""One transaction: all that can be read and changed in it. Nothing else in the project speaks SQL."""

from __future__ import annotations

from adapters.sql.beats_tx import BeatStatements
from adapters.sql.commands_tx import CommandStatements
from adapters.sql.crowd_tx import CrowdStatements
from adapters.sql.fleet_tx import FleetStatements
from adapters.sql.journal_tx import JournalStatements
from adapters.sql.leases_tx import LeaseStatements
from adapters.sql.machines_tx import MachineStatements
from adapters.sql.outbox_tx import OutboxStatements
from adapters.sql.turns_tx import TurnStatements


class Tx(
    MachineStatements,
    CrowdStatements,
    JournalStatements,
    OutboxStatements,
    CommandStatements,
    FleetStatements,
    LeaseStatements,
    BeatStatements,
    TurnStatements,
):
    """Made by `SqlStore.transaction`; commits or vanishes as a whole, and is of no use after that."""
