"""What of a machine decides anything: two machines with one key behave alike, whatever their numbers and times are.

Kept are the state, what an operator chose, the ages of evidence and hold as far as a limit tells them apart, and the
rungs that are left. Forgotten are names, texts, the fence's height and every rung that is over.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from machines.brake import quarantined_until
from machines.hold import is_held
from machines.model import (
    Endpoint,
    Evidence,
    FailoverId,
    FenceProof,
    Hold,
    HostId,
    InstanceId,
    Machine,
    MachineId,
    Mode,
    Queued,
    Running,
    Setting,
    Source,
    Standby,
    Testimony,
    VolumeId,
    VolumeMount,
    WaitsFor,
    Word,
)
from machines.policy import Policy

NOW = datetime(2026, 11, 23, tzinfo=UTC)
POLICY = Policy()
FENCE = 10
PRIMARY = InstanceId(7001)
FAILOVER = FailoverId("fo_model")
BOOT, BOOT_OF_THE_HOLD = "b1", "b0"
SHORT, LONG = timedelta(seconds=40), timedelta(seconds=500)
"""Longer than a confirmation and shorter than evidence lasts; longer than any limit but a quarantine's."""
VERY_LONG = timedelta(hours=2)
_AGES = ((20.0, 0.0), (POLICY.evidence_max_age_s, 40.0), (300.0, 100.0))
_ANCIENT_S = 400.0
FLAPPING = (NOW,) * POLICY.flap_count
"""Suspect so often, and just now."""

FRESH = Machine(
    MachineId(7),
    "golf",
    fence=FENCE,
    setting=Setting.BOTH,
    mode=Mode.ON,
    primary=PRIMARY,
    host=HostId(3),
    ssh=Endpoint("h", 22),
    boot_id=BOOT,
    volume=VolumeMount(VolumeId(5), "/workspace"),
    standby=Standby(InstanceId(7500), HostId(3)),
)


def canonical(machine: Machine, now: datetime) -> Machine:
    """The machine that stands for all that behave like this one, at NOW. What it owns is given back to it: whoever
    moved is armed again."""
    return replace(
        FRESH,
        state=machine.state,
        setting=machine.setting,
        mode=machine.mode,
        evidence=_evidence(machine, now),
        look_at=None if machine.look_at is None else NOW,
        failover=None if machine.failover is None else _running(machine.failover),
        hold=None if machine.hold is None else _hold(machine, machine.hold, now),
        queued=None if machine.queued is None else Queued(NOW, NOW, WaitsFor.PLACE),
        suspicions=FLAPPING if _is_quarantined(machine, now) else (),
    )


def _is_quarantined(machine: Machine, now: datetime) -> bool:
    until = quarantined_until(machine, POLICY)
    return until is not None and now < until


def key(machine: Machine) -> Hashable:
    """Of a canonical machine."""
    chosen = (machine.state, machine.setting, machine.mode, machine.look_at is None)
    return (*chosen, machine.evidence, machine.failover, machine.hold, machine.queued is None, machine.suspicions)


def _evidence(machine: Machine, now: datetime) -> Evidence | None:
    found = machine.evidence
    if found is None:
        return None
    if machine.failover is not None or machine.look_at is None:
        # Of a machine in a failover only "gone" is read; of one that nobody looks at, nothing else.
        gone = any(said.word is Word.GONE for said in found.testimonies)
        return Evidence(PRIMARY, (Testimony(Source.PROVIDER, Word.GONE, "", NOW),), NOW, NOW, 1) if gone else None
    at = NOW - timedelta(seconds=_bucket((now - found.at).total_seconds()))
    said = tuple(Testimony(one.source, one.word, "", at) for one in found.testimonies)
    since = None
    if found.dead_since is not None:
        lasted = (found.at - found.dead_since).total_seconds() >= POLICY.confirm_after_s
        since = at - timedelta(seconds=POLICY.confirm_after_s if lasted else 0.0)
    return Evidence(PRIMARY, said, at, since, min(found.rounds, 2))


def _bucket(age_s: float) -> float:
    return next((stands for limit, stands in _AGES if age_s <= limit), _ANCIENT_S)


def _running(running: Running) -> Running:
    proof = running.proof
    return replace(
        running,
        id=FAILOVER,
        ladder=running.ladder[running.position :],
        position=0,
        started_at=NOW,
        fence=FENCE,
        proof=None if proof is None else FenceProof(proof.grade, "", NOW),
        attempt=1,
    )


def _hold(machine: Machine, hold: Hold, now: datetime) -> Hold:
    """Held since it began, or only since a start was asked for, or not any more."""
    over = NOW - 2 * LONG
    by_age = is_held(replace(machine, hold=replace(hold, asked_at=None)), now, POLICY)
    by_start = not by_age and is_held(machine, now, POLICY)
    boot = BOOT if hold.boot_id == machine.boot_id else (hold.boot_id and BOOT_OF_THE_HOLD)
    return Hold("", NOW if by_age else over, boot, hold.is_stopped, NOW if by_start else None)
