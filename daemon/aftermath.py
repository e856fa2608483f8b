"""After a failover has failed: it is tried again, and somebody says that they know of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adapters.sql.records import FailoverRecord
from adapters.sql.tx import Tx
from events.schema import Command
from machines.admission import FailoverRequest
from machines.model import FailoverId, Machine, MachineId
from machines.problems import Problem, invalid, unknown_machine
from machines.states import State

if TYPE_CHECKING:
    from daemon.asked import Asked

LONGEST_COMMENT = 500


def repeated(tx: Tx, machine_id: MachineId, command: Command, request: FailoverRequest) -> FailoverRequest:
    """The wish for the machine's last failover once more: the same strategy, unless another is named, and the same wishes.
    Raise Problem (404, 409)."""
    machine = tx.machine(machine_id)
    if machine is None:
        raise unknown_machine(machine_id)
    request = replace(request, is_retry=True)
    if machine.state is not State.FAILED:
        return request  # The gate says why not, or knows that this command began what runs.
    record = _last(tx, machine, command.arguments.get("failover_id"))
    if record is None:
        return request
    return replace(request, setting=request.setting or record.setting, wishes=record.running.wishes)


def _last(tx: Tx, machine: Machine, named: Any) -> FailoverRecord | None:
    """The machine's last failover; None where it failed without one. Raise Problem (400, 409)."""
    if named is not None and not isinstance(named, str):
        raise invalid("arguments.failover_id", named, "the id of a failover, such as fo_abc123")
    last = machine.last_failover
    if named is not None and named != last:
        raise Problem(
            409,
            "not_the_last",
            f"failover {named} is not the last one of machine {machine.id}" + (f"; that is {last}" if last else ""),
            f"try {last} again" if last else f"begin one: failoverd failover {machine.id}",
            {"failover_id": last, "machine_id": machine.id},
        )
    return tx.failover(last) if last is not None else None


def acknowledge(tx: Tx, asked: Asked, now: datetime) -> dict[str, Any]:
    """Somebody knows of the failover's end. The first who says so stands. Raise Problem (400, 404, 409)."""
    command = asked.command
    named = command.arguments.get("failover_id")
    if not isinstance(named, str):
        raise invalid("arguments.failover_id", named, "the id of a failover, such as fo_abc123")
    if command.reason is not None and len(command.reason) > LONGEST_COMMENT:
        raise invalid("reason", command.reason, f"at most {LONGEST_COMMENT} characters")
    record = tx.failover(FailoverId(named))
    if record is None or (command.machine_id is not None and record.machine != command.machine_id):
        raise Problem(
            404, "unknown_failover", f"there is no failover {named}", "GET /api/v1/failovers lists them",
            {"failover_id": named},
        )  # fmt: skip
    if record.ended_at is None:
        detail, remedy = f"failover {named} is still running", f"wait for its end: failoverd show {named} -f"
        raise Problem(409, "not_ended", detail, remedy, {"failover_id": named})
    tx.acknowledge(record.id, asked.asked_by, command.reason, now)
    found = tx.failover(record.id)
    assert found is not None
    return acknowledgement(found)


def acknowledgement(record: FailoverRecord) -> dict[str, Any]:
    """Who knows of it, since when, and what they said."""
    return {
        "failover_id": record.id,
        "machine_id": record.machine,
        "acknowledged_at": record.acked_at.isoformat() if record.acked_at else None,
        "acknowledged_by": record.acked_by,
        "comment": record.ack_comment,
    }
