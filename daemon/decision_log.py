"""The log's line on each decision about a machine: what was decided, why, and what each source had said."""

from __future__ import annotations

import structlog

from machines.model import Evidence, Machine

log = structlog.get_logger(__name__)


def tell(before: Machine, after: Machine) -> None:
    """One line where the state has changed, and one where it stays, for a new reason: a failover that waits, a doubt."""
    if after.state is before.state and after.because == before.because:
        return
    failover = after.failover.id if after.failover else after.last_failover
    log.info(
        "machine_changed" if after.state is not before.state else "machine_judged",
        machine=after.id,
        was=before.state.value,
        state=after.state.value,
        because=after.because,
        # A machine that is healthy again has none any more: what it was judged by is told.
        evidence=_words(after.evidence or before.evidence),
        fence=after.fence,
        failover=failover,
    )


def _words(evidence: Evidence | None) -> list[str]:
    if evidence is None:
        return []
    return [
        f"{said.source.value}: {said.word.value} ({said.detail}) at {said.at.isoformat(timespec='seconds')}"
        for said in evidence.testimonies
    ]
