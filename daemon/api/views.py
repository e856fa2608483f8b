"""A machine as the API shows it: what it is, why, since when, and how old every word about it is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from machines.admission import Pause
from machines.brake import flaps, quarantined_until
from machines.evidence import Verdict, judge
from machines.hold import held_until
from machines.model import Evidence, Machine, Mode, Setting
from machines.policy import Policy
from machines.readiness import Readiness
from machines.states import EDGES, State

_SERVING = (State.HEALTHY, State.RECOVERED)


def iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def age_s(at: datetime | None, now: datetime) -> float | None:
    """Seconds since then, to the millisecond."""
    return None if at is None else round((now - at).total_seconds(), 3)


def machine_view(machine: Machine, now: datetime) -> dict[str, Any]:
    """Of the workload's environment only the names are shown: the values are the customer's secrets."""
    workload = machine.workload
    running = machine.failover
    return {
        "id": machine.id,
        "machine_id": machine.id,
        "name": machine.name,
        "state": machine.state.value,
        "because": machine.because,
        "since": iso(machine.since),
        "since_seconds": age_s(machine.since, now),
        "strategy": machine.setting.value,
        "auto_failover": machine.mode.value,
        "priority": machine.priority,
        "gpu_instance_id": machine.primary,
        "ssh_host": machine.ssh.host if machine.ssh else None,
        "ssh_port": machine.ssh.port if machine.ssh else None,
        "host": machine.host,
        "landlord": machine.landlord,
        "is_interruptible": machine.is_interruptible,
        "price_per_hour": machine.price_per_hour,
        "fence": machine.fence,
        "version": machine.version,
        "failover_id": running.id if running else None,
        "last_failover_id": machine.last_failover,
        "look_at": iso(machine.look_at),
        "queued_since": iso(machine.queued.since) if machine.queued else None,
        "waits_for": machine.queued.waits_for.value if machine.queued else None,
        "interval_s": machine.interval_s,
        "evidence": evidence_view(machine.evidence, now),
        "evidence_age_seconds": age_s(machine.evidence.at if machine.evidence else None, now),
        "workspace_path": machine.workspace_path,
        "volume_id": machine.volume.id if machine.volume else None,
        "volume_path": machine.volume.path if machine.volume else None,
        "standby_gpu_instance_id": machine.standby.instance if machine.standby else None,
        "image": workload.image,
        "disk_gb": workload.disk_gb,
        "gpu_name": workload.gpu_name,
        "num_gpus": workload.num_gpus,
        "max_price": workload.max_price,
        "region": workload.region,
        "env_names": sorted(workload.env),
        "onstart": workload.onstart,
    }


def evidence_view(evidence: Evidence | None, now: datetime) -> list[dict[str, Any]]:
    """What each source said, when, and how long ago."""
    return [
        {
            "source": said.source.value,
            "word": said.word.value,
            "detail": said.detail,
            "at": said.at.isoformat(),
            "age_seconds": age_s(said.at, now),
        }
        for said in (evidence.testimonies if evidence is not None else ())
    ]


UNREADABLE_PAUSE = "the pause flag cannot be read: pause or resume to write it anew"


def explanation(
    machine: Machine, readiness: Readiness, pause: Pause | None, is_pause_readable: bool, now: datetime, policy: Policy
) -> dict[str, Any]:
    """Why the machine is in its state, what is awaited, and which news would change it. A pause that cannot be read is one."""
    evidence = machine.evidence
    judgement = judge(evidence, policy) if evidence is not None else None
    return {
        "machine_id": machine.id,
        "name": machine.name,
        "state": machine.state.value,
        "because": machine.because,
        "since": iso(machine.since),
        "since_seconds": age_s(machine.since, now),
        "failover_id": machine.failover.id if machine.failover else None,
        "evidence": evidence_view(evidence, now),
        "verdict": judgement.verdict.value if judgement else None,
        "verdict_because": judgement.because if judgement else None,
        "look_at": iso(machine.look_at),
        "next": _awaited(machine, pause, is_pause_readable, now, policy),
        "would_change_it": [
            {"trigger": row.trigger.value, "to": row.target.value, "because": row.because}
            for row in EDGES
            if row.source is machine.state
        ],
        "ready": readiness.overall_ready,
        "readiness": {"warm_pool": readiness.warm_pool_why, "cpu_standby": readiness.cpu_standby_why},
        "recommended_action": readiness.recommended_action,
        "checked_at": iso(readiness.checked_at),
    }


def _awaited(machine: Machine, pause: Pause | None, is_pause_readable: bool, now: datetime, policy: Policy) -> str:
    """What happens next by itself, in one sentence."""
    if machine.failover is not None:
        return f"failover {machine.failover.id} is at {machine.failover.rung.value}; its end decides"
    if machine.state is State.FAILED:
        return "nothing by itself, unless it speaks again: an operator must act"
    until = held_until(machine, policy)
    if machine.state is State.DETECTING and machine.hold is not None and until is not None and now < until:
        return f"{machine.hold.because}; nothing is concluded from its silence until {until.isoformat()}"
    quarantine = quarantined_until(machine, policy)
    if quarantine is not None and now < quarantine:
        lift = f"PUT /api/v1/machines/{machine.id} with auto_failover"
        return f"{flaps(machine)}; no automatic failover until {quarantine.isoformat()}, or {lift}"
    if machine.mode is not Mode.ON:
        return f"nothing but telling: automatic failover is {machine.mode.value} for this machine"
    if machine.setting is Setting.DISABLED:
        return "nothing but telling: its strategy is disabled"
    if not is_pause_readable:
        return f"automatic failover is paused: {UNREADABLE_PAUSE}"
    if pause is not None and pause.until > now:
        return f"no automatic failover until {pause.until.isoformat()}: paused by {pause.by}: {pause.reason}"
    if machine.queued is not None:
        return f"it waits for its turn since {machine.queued.since.isoformat()}: {machine.because}"
    if machine.state is State.DETECTING:
        when = f" at {machine.look_at.isoformat()}" if machine.look_at else ""
        return f"the second sources are asked again{when}; a confirmed death begins {machine.setting.value}"
    return f"it is watched; a death that is confirmed begins {machine.setting.value}"


def is_active(machine: Machine, policy: Policy) -> bool:
    """May traffic go to the machine's primary? A suspect whose second source says that it lives still serves."""
    if machine.primary is None or machine.failover is not None:
        return False
    if machine.state in _SERVING:
        return True
    alive = machine.evidence is not None and judge(machine.evidence, policy).verdict is Verdict.ALIVE
    return machine.state is State.DETECTING and alive
