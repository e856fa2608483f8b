"""The contract's answer to a failover, built from its record: the same over HTTP and Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from adapters.sql.records import AttemptRecord, FailoverRecord
from machines.model import Rung


def milliseconds(start: datetime, end: datetime | None) -> int:
    """Whole milliseconds between two times; 0 where the end is missing."""
    return 0 if end is None else max(0, round((end - start).total_seconds() * 1000))


def answer_of(record: FailoverRecord) -> dict[str, Any]:
    """The body of `POST /failover/execute` (contract, seed). `*_attempt_ms` is 0 for a strategy that was not tried."""
    new = record.new
    won = record.strategy_succeeded
    return {
        "success": bool(record.success),
        "failover_id": record.id,
        "machine_id": record.machine,
        "strategy_attempted": record.setting.value,
        "strategy_succeeded": won.value if won else None,
        "new_gpu_id": new.instance if new else None,
        "new_ssh_host": new.ssh.host if new else None,
        "new_ssh_port": new.ssh.port if new else None,
        "new_gpu_name": new.gpu_name.replace(" ", "_") if new else None,
        "warm_pool_attempt_ms": _spent(record.attempts, Rung.WARM_POOL),
        "cpu_standby_attempt_ms": _spent(record.attempts, Rung.CPU_STANDBY),
        "regional_volume_attempt_ms": _spent(record.attempts, Rung.REGIONAL_VOLUME),
        "total_ms": milliseconds(record.started_at, record.ended_at),
        "error": None if record.success else record.code,
        "error_detail": None if record.success else record.why,
        "warm_pool_error": _error(record.attempts, Rung.WARM_POOL),
        "cpu_standby_error": _error(record.attempts, Rung.CPU_STANDBY),
        "regional_volume_error": _error(record.attempts, Rung.REGIONAL_VOLUME),
        "state": "running" if record.ended_at is None else ("succeeded" if record.success else "failed"),
        "data_age_seconds": record.data_age_s,
    }


def _spent(attempts: Iterable[AttemptRecord], rung: Rung) -> int:
    return sum(milliseconds(attempt.started_at, attempt.ended_at) for attempt in attempts if attempt.rung is rung)


def _error(attempts: Iterable[AttemptRecord], rung: Rung) -> str | None:
    """The code of the rung's newest attempt; None where it succeeded or was not tried."""
    codes = [attempt.code for attempt in attempts if attempt.rung is rung]
    return codes[-1] if codes else None
