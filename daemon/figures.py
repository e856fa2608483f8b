"""What many failovers came to: how many, how often they succeeded, how long they and their phases took. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

from adapters.sql.records import FailoverRecord

ADMISSION = "admission"
"""From the moment since which the sources agree on a death until the failover began."""
RECOVERY = "recovery"
"""From the begin of a failover until its hand-over."""
CANCELLED = "cancelled"
_FIRST = (ADMISSION, RECOVERY)


def figures(records: Sequence[FailoverRecord], step_seconds: Iterable[tuple[str, float]]) -> dict[str, Any]:
    """Counts, rates and times. What was cancelled neither succeeded nor failed."""
    ended = [record for record in records if record.ended_at is not None]
    won = [record for record in ended if record.success]
    cancelled = [record for record in ended if not record.success and record.code == CANCELLED]
    lost = [record for record in ended if not record.success and record.code != CANCELLED]
    recoveries = _recoveries(won)
    judged = len(won) + len(lost)
    return {
        "failovers": len(records),
        "running": len(records) - len(ended),
        "succeeded": len(won),
        "failed": len(lost),
        "cancelled": len(cancelled),
        "success_rate": round(len(won) / judged, 4) if judged else None,
        "mttr_seconds": round(sum(recoveries) / len(recoveries), 3) if recoveries else None,
        "recovery_p95_seconds": percentile(recoveries, 0.95),
        "by_strategy": _counted(record.strategy_succeeded.value for record in won if record.strategy_succeeded),
        "by_trigger": _counted(record.reason.value for record in records),
        "by_error": _counted(record.code or "unknown" for record in lost),
        "phases": _phases(records, recoveries, step_seconds),
    }


def _recoveries(won: Iterable[FailoverRecord]) -> list[float]:
    return [(record.ended_at - record.started_at).total_seconds() for record in won if record.ended_at is not None]


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _phases(
    records: Iterable[FailoverRecord], recoveries: Sequence[float], step_seconds: Iterable[tuple[str, float]]
) -> list[dict[str, Any]]:
    """The longest first, below the two that are no steps."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    times[RECOVERY] = list(recoveries)
    for record in records:
        since = record.evidence.dead_since if record.evidence is not None else None
        if since is not None:
            times[ADMISSION].append((record.started_at - since).total_seconds())
    for name, seconds in step_seconds:
        times[name].append(seconds)
    rows = [_phase(name, found) for name, found in times.items() if found]
    return sorted(rows, key=lambda row: (row["phase"] not in _FIRST, -row["p50_seconds"], row["phase"]))


def _phase(name: str, times: Sequence[float]) -> dict[str, Any]:
    return {
        "phase": name,
        "count": len(times),
        "p50_seconds": percentile(times, 0.5),
        "p95_seconds": percentile(times, 0.95),
        "longest_seconds": round(max(times), 3),
    }


def percentile(times: Sequence[float], part: float) -> float | None:
    """The nearest rank: a time that was really taken. None of nothing."""
    if not times:
        return None
    ordered = sorted(times)
    return round(ordered[max(0, ceil(part * len(ordered)) - 1)], 3)
