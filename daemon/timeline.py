"""A failover as people read it: its attempts, and every step with its start, end, tries and errors. Pure.

Built from the record and the journal alone, so the API, the command line and the demo show the same seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from adapters.sql.records import AttemptRecord, FailoverRecord
from daemon.answers import milliseconds
from machines.journal import WHOLE_STEP, Candidate, Entry, Mark, candidates
from machines.strategies.ladder import strategy_of

_WAITS = (Mark.WAITING, Mark.UNDO_WAITING, Mark.UNDO_FAILED)
_MOST_TOLD = 20
_FAULTS = (Mark.REFUSED, Mark.UNKNOWN, Mark.UNDO_FAILED)


def summary(record: FailoverRecord) -> dict[str, Any]:
    """The failover in one row of a list."""
    new = record.new
    return {
        "failover_id": record.id,
        "machine_id": record.machine,
        "state": "running" if record.ended_at is None else ("succeeded" if record.success else "failed"),
        "trigger": record.reason.value,
        "because": record.because,
        "asked_by": record.asked_by,
        "strategy_attempted": record.setting.value,
        "strategy_succeeded": record.strategy_succeeded.value if record.strategy_succeeded else None,
        "started_at": record.started_at.isoformat(),
        "ended_at": _iso(record.ended_at),
        "total_ms": milliseconds(record.started_at, record.ended_at),
        "success": record.success,
        "error": None if record.success else record.code,
        "error_detail": None if record.success else record.why,
        "cancel_asked": record.running.cancel_asked,
        "old_gpu_instance_id": record.old_instance,
        "new_gpu_instance_id": new.instance if new else None,
        "price_per_hour": new.price_per_hour if new else None,
        "data_age_seconds": record.data_age_s,
        "acknowledged_at": _iso(record.acked_at),
        "acknowledged_by": record.acked_by,
        "ack_comment": record.ack_comment,
        "wants_a_look": record.wants_a_look,
    }


def timeline(record: FailoverRecord, entries: Sequence[tuple[int, Entry]]) -> dict[str, Any]:
    """The whole story. `entries` are the journal's, each with the number of its attempt, in their order."""
    running, proof = record.running, record.running.proof
    by_attempt = {
        attempt.number: [entry for number, entry in entries if number == attempt.number] for attempt in record.attempts
    }
    return {
        **summary(record),
        "command_id": record.command_id,
        "fence": running.fence,
        "fence_grade": proof.grade.value if proof else None,
        "fence_proof": proof.proof if proof else None,
        "fenced_at": _iso(proof.at) if proof else None,
        "ladder": [rung.value for rung in running.ladder],
        "evidence": _evidence(record),
        "cost_reserved": record.reserved,
        "cost_spent": record.spent,
        "new": _replacement(record),
        "attempts": [_attempt(attempt, by_attempt[attempt.number], record) for attempt in record.attempts],
        "next_attempt_at": _next_look(record, entries),
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _evidence(record: FailoverRecord) -> list[dict[str, Any]]:
    """What the sources said when it was admitted, and how old each word was then."""
    return [
        {
            "source": said.source.value,
            "word": said.word.value,
            "detail": said.detail,
            "at": said.at.isoformat(),
            "age_seconds": _seconds(said.at, record.started_at),
        }
        for said in (record.evidence.testimonies if record.evidence is not None else ())
    ]


def _replacement(record: FailoverRecord) -> dict[str, Any] | None:
    new = record.new
    if new is None:
        return None
    return {
        "gpu_instance_id": new.instance,
        "label": new.label,
        "host": new.host,
        "landlord": new.landlord,
        "ssh_host": new.ssh.host,
        "ssh_port": new.ssh.port,
        "gpu_name": new.gpu_name,
        "price_per_hour": new.price_per_hour,
        "data_age_seconds": record.data_age_s,
    }


def _next_look(record: FailoverRecord, entries: Sequence[tuple[int, Entry]]) -> str | None:
    """When a running failover that waits goes on; None where it is at work, or over."""
    if record.ended_at is not None or not entries:
        return None
    last = entries[-1][1]
    return _iso(last.until) if last.mark in _WAITS else None


def _attempt(attempt: AttemptRecord, entries: Sequence[Entry], record: FailoverRecord) -> dict[str, Any]:
    is_over = attempt.ended_at is not None
    succeeded = is_over and attempt.code is None
    steps = _steps(entries, attempt)
    begun = {step["name"] for step in steps}
    strategy = strategy_of(attempt.rung, begun)
    if not is_over and record.ended_at is None and strategy is not None:
        steps += [_pending(step.name) for step in strategy.steps if step.name not in begun]
    return {
        "number": attempt.number,
        "strategy": attempt.rung.value,
        "status": "running" if not is_over else ("succeeded" if succeeded else "failed"),
        "started_at": attempt.started_at.isoformat(),
        "ended_at": _iso(attempt.ended_at),
        "seconds": _seconds(attempt.started_at, attempt.ended_at),
        "code": attempt.code,
        "why": attempt.why,
        "steps": steps,
        "candidates": _candidates(entries),
    }


@dataclass(slots=True)
class _Progress:
    """What the journal says of one step of one attempt."""

    run: list[Entry] = field(default_factory=list)
    undo: list[Entry] = field(default_factory=list)


def _steps(entries: Sequence[Entry], attempt: AttemptRecord) -> list[dict[str, Any]]:
    """In the order in which they began."""
    found: dict[str, _Progress] = {}
    for entry in entries:
        if entry.candidate == WHOLE_STEP:
            progress = found.setdefault(entry.step, _Progress())
            (progress.undo if entry.mark in _UNDO else progress.run).append(entry)
    return [_step(name, progress, attempt) for name, progress in found.items()]


_UNDO = frozenset({Mark.UNDO_STARTED, Mark.UNDO_WAITING, Mark.UNDO_FAILED, Mark.UNDONE})


def _step(name: str, progress: _Progress, attempt: AttemptRecord) -> dict[str, Any]:
    last = progress.run[-1] if progress.run else None
    status = _status(last, attempt)
    fault = last if last is not None and status in ("failed", "waiting", "unknown") else None
    ended_at = _end(last, status, attempt)
    started_at = progress.run[0].at if progress.run else None
    waits = sum(1 for entry in progress.run if entry.mark is Mark.WAITING)
    starts = sum(1 for entry in progress.run if entry.mark is Mark.STARTED)
    return {
        "name": name,
        "status": status,
        "started_at": _iso(started_at),
        "ended_at": _iso(ended_at),
        "seconds": _seconds(started_at, ended_at),
        # A start that ended in "not yet" was a look and not a try.
        "tries": max(starts - waits, min(starts, 1)),
        "waits": waits,
        "error": fault.why if fault else None,
        "code": fault.code if fault else None,
        "until": _iso(fault.until) if fault else None,
        "output": msgspec.to_builtins(last.output) if last is not None and last.mark is Mark.DONE else None,
        "progress": _progress(progress.run),
        "errors": [_error(entry) for entry in (*progress.run, *progress.undo) if entry.mark in _FAULTS],
        "undo": _undo(progress.undo),
    }


def _status(last: Entry | None, attempt: AttemptRecord) -> str:
    """How the step stands: done, failed, waiting, unknown or running. What its attempt left open has failed."""
    if last is not None and last.mark is Mark.DONE:
        return "done"
    if last is None or last.mark is Mark.REFUSED or attempt.ended_at is not None:
        return "failed"
    return {Mark.WAITING: "waiting", Mark.UNKNOWN: "unknown"}.get(last.mark, "running")


def _end(last: Entry | None, status: str, attempt: AttemptRecord) -> datetime | None:
    if last is None or status not in ("done", "failed"):
        return None
    return last.at if last.mark in (Mark.DONE, Mark.REFUSED, Mark.UNKNOWN) else attempt.ended_at


def _progress(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What the step waited for, the newest last; the same words are told once, at their first time."""
    told: list[dict[str, Any]] = []
    for entry in entries:
        if entry.mark is Mark.WAITING and entry.why and (not told or told[-1]["why"] != entry.why):
            told.append({"at": entry.at.isoformat(), "why": entry.why})
    return told[-_MOST_TOLD:]


def _error(entry: Entry) -> dict[str, Any]:
    return {"at": entry.at.isoformat(), "mark": entry.mark.value, "code": entry.code, "why": entry.why}


def _undo(entries: Sequence[Entry]) -> dict[str, Any] | None:
    """How far the step was taken back; None where it was not to be."""
    if not entries:
        return None
    last = entries[-1]
    is_done = last.mark is Mark.UNDONE
    return {
        "status": "undone" if is_done else {Mark.UNDO_STARTED: "running"}.get(last.mark, "waiting"),
        "started_at": entries[0].at.isoformat(),
        "ended_at": last.at.isoformat() if is_done else None,
        "tries": sum(1 for entry in entries if entry.mark is Mark.UNDO_STARTED),
        "error": None if is_done else last.why,
    }


def _pending(name: str) -> dict[str, Any]:
    """A step that has not begun."""
    nothing = dict.fromkeys(("started_at", "ended_at", "seconds", "error", "code", "until", "output", "undo"))
    return {"name": name, "status": "pending", "tries": 0, "waits": 0, "progress": [], "errors": [], **nothing}


def _candidates(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Every offer that was tried, with its price and what became of it."""
    steps = dict.fromkeys(entry.step for entry in entries if entry.mark is Mark.CLAIMED)
    return [_candidate(step, candidate, entries) for step in steps for candidate in candidates(entries, step)]


def _candidate(step: str, candidate: Candidate, entries: Sequence[Entry]) -> dict[str, Any]:
    offer = candidate.claim.offer
    mine = [entry for entry in entries if entry.step == step and entry.candidate == candidate.number]
    return {
        "step": step,
        "number": candidate.number,
        "status": "won" if _has_won(step, candidate, entries) else candidate.mark.value,
        "label": candidate.claim.label,
        "gpu_instance_id": candidate.instance,
        "offer_id": offer.id,
        "host": offer.host,
        "gpu_name": offer.gpu_name,
        "num_gpus": offer.num_gpus,
        "price_per_hour": offer.price_per_hour,
        "region": offer.region,
        "claimed_at": candidate.claim.claimed_at.isoformat(),
        "ended_at": mine[-1].at.isoformat() if candidate.mark is Mark.DROPPED else None,
        "why": candidate.why,
    }


def _has_won(step: str, candidate: Candidate, entries: Sequence[Entry]) -> bool:
    done = [entry for entry in entries if entry.step == step and entry.mark is Mark.DONE]
    return bool(done) and candidate.is_live and done[-1].output.get("candidate") == candidate.number


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)
