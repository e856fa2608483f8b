"""A machine as the API shows it: what it is, why, since when, and how old every word about it is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from machines.admission import Check, Delayed, Denied
from machines.cpu_vm import CpuStandby, VmServing
from machines.evidence import Verdict, judge
from machines.explanation import Explanation
from machines.model import Evidence, Machine, Prepared, WarmPool
from machines.policy import Policies, Policy, origin_of, own_names, value_of
from machines.readiness import Readiness
from machines.states import EDGES, State

_SERVING = (State.HEALTHY, State.RECOVERED)


def iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def age_s(at: datetime | None, now: datetime) -> float | None:
    """Seconds since then, to the millisecond; 0 where the clock that stamped it is ahead of ours."""
    return None if at is None else max(0.0, round((now - at).total_seconds(), 3))


def machine_view(
    machine: Machine,
    now: datetime,
    snapshot_age_s: float | None = None,
    copy_age_s: float | None = None,
    heartbeat_age_s: float | None = None,
) -> dict[str, Any]:
    """Of the workload's environment only the names are shown: the values are the customer's secrets. `snapshot_age_s` and
    `copy_age_s`: of its newest verified snapshot, and of the copy of its workspace that its CPU VM has, as last looked at;
    `heartbeat_age_s`: of the last one, where this replica judges the machine and heard one."""
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
        "ssh_host_key": machine.host_key,
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
        "paused_until": iso(machine.rest.until) if machine.rest and machine.rest.until > now else None,
        "pause_reason": machine.rest.reason if machine.rest and machine.rest.until > now else None,
        "observed_at": iso(machine.observed_at),
        "own_settings": list(own_names(machine)),
        "interval_s": machine.interval_s,
        "boot_id": machine.boot_id or None,
        "heartbeat_age_seconds": heartbeat_age_s,
        "snapshot_age_seconds": snapshot_age_s,
        "evidence": evidence_view(machine.evidence, now),
        "evidence_age_seconds": age_s(machine.evidence.at if machine.evidence else None, now),
        "workspace_path": machine.workspace_path,
        "volume_id": machine.volume.id if machine.volume else None,
        "volume_path": machine.volume.path if machine.volume else None,
        "volume_replica_id": machine.volume.replica.id if machine.volume and machine.volume.replica else None,
        "volume_copied_at": iso(machine.volume.replica.copied_at)
        if machine.volume and machine.volume.replica
        else None,
        "standby_gpu_instance_id": machine.standby.instance if machine.standby else None,
        "cpu_standby": cpu_standby_view(machine.cpu_standby, copy_age_s),
        "warm_pool": warm_pool_view(machine.warm_pool),
        "image": workload.image,
        "disk_gb": workload.disk_gb,
        "gpu_name": workload.gpu_name,
        "num_gpus": workload.num_gpus,
        "max_price": workload.max_price,
        "region": workload.region,
        "env_names": sorted(workload.env),
        "onstart": workload.onstart,
        "runtype": workload.runtype,
        "ssh_keys": list(workload.ssh_keys),
    }


def cpu_standby_view(standby: CpuStandby | None, copy_age_s: float | None) -> dict[str, Any] | None:
    """What is wanted, and the VM that there is; ids are texts, because they exceed what JSON's readers count to."""
    if standby is None:
        return None
    vm = standby.vm
    return {
        "zone": standby.zone,
        "machine_type": standby.machine_type,
        "keep_running": standby.keep_running,
        "vm": None if vm is None else {"zone": vm.zone, "name": vm.name, "id": str(vm.id)},
        "command": standby.command,
        "accept_smaller_copy": standby.accepts_smaller,
        "copy_age_seconds": copy_age_s,
        "serving": None if standby.serving is None else serving_view(standby.serving),
    }


def serving_view(serving: VmServing) -> dict[str, Any]:
    """Where the VM serves in its machine's place."""
    return {
        "ssh_host": serving.host,
        "ssh_port": serving.port,
        "ssh_host_key": serving.host_key,
        "since": iso(serving.since),
    }


def warm_pool_view(wish: WarmPool | None) -> dict[str, Any] | None:
    """What was asked for, and what stands ready on another host."""
    if wish is None:
        return None
    return {
        "size_gb": wish.size_gb,
        "gpu_name": wish.gpu_name,
        "region": wish.region,
        "max_price": wish.max_price,
        "image": wish.image,
        "prepared": prepared_view(wish.prepared),
    }


def prepared_view(prepared: Prepared | None) -> dict[str, Any] | None:
    """Stopped, it costs its volume and its disks; running, also the price of each instance."""
    if prepared is None:
        return None
    return {
        "host": prepared.host,
        "gpu_instance_id": prepared.first.instance,
        "standby_gpu_instance_id": prepared.second.instance if prepared.second is not None else None,
        "volume_id": prepared.volume.id,
        "price_per_hour": prepared.price_per_hour,
        "volume_price_per_month": prepared.volume_per_month,
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


def explanation(
    machine: Machine, found: Explanation, readiness: Readiness, now: datetime, policy: Policy, policies: Policies
) -> dict[str, Any]:
    """Why the machine is in its state, every rule with its value, what is awaited, and which news would change it."""
    evidence = machine.evidence
    judgement = judge(evidence, policy) if evidence is not None else None
    stopped_by = found.stopped_by
    until = stopped_by.stops.look_at if stopped_by and isinstance(stopped_by.stops, Delayed) else None
    return {
        "machine_id": machine.id,
        "name": machine.name,
        "state": machine.state.value,
        "because": machine.because,
        "since": iso(machine.since),
        "since_seconds": age_s(machine.since, now),
        "failover_id": machine.failover.id if machine.failover else None,
        "last_failover_id": machine.last_failover,
        "auto_failover": machine.mode.value,
        "strategy": machine.setting.value,
        "evidence": evidence_view(evidence, now),
        "verdict": judgement.verdict.value if judgement else None,
        "verdict_because": judgement.because if judgement else None,
        "rules": [_rule_view(check, machine, policy, policies) for check in found.chain],
        "begins_now": stopped_by is None and machine.failover is None,
        "stopped_by": stopped_by.rule if stopped_by else None,
        "blocked_until": iso(until),
        "observed_at": iso(machine.observed_at),
        "look_at": iso(machine.look_at),
        "next": found.next,
        "would_change_it": [
            {"trigger": row.trigger.value, "to": row.target.value, "because": row.because}
            for row in EDGES
            if row.source is machine.state
        ],
        "ready": readiness.overall_ready,
        "readiness": {
            "warm_pool": readiness.warm_pool_why,
            "cpu_standby": readiness.cpu_standby_why,
            "regional_volume": readiness.regional_volume_why,
        },
        "recommended_action": readiness.recommended_action,
        "checked_at": iso(readiness.checked_at),
    }


def _rule_view(check: Check, machine: Machine, policy: Policy, policies: Policies) -> dict[str, Any]:
    """One rule as it was found, and the settings that would move its threshold."""
    stops = check.stops
    return {
        "rule": check.rule,
        "passes": stops is None,
        "found": check.found,
        "value": check.value,
        "threshold": check.threshold,
        "code": stops.code if isinstance(stops, Denied) else None,
        "until": iso(stops.look_at) if isinstance(stops, Delayed) else None,
        "remedy": stops.remedy if isinstance(stops, Denied) else None,
        "settings": [
            {
                "name": name,
                "value": value_of(name, machine, policy),
                "origin": origin_of(name, machine, policies.origin(name)).value,
            }
            for name in check.settings
        ],
    }


def is_active(machine: Machine, policy: Policy) -> bool:
    """May traffic go to the machine's primary? A suspect whose second source says that it lives still serves."""
    if machine.primary is None or machine.failover is not None:
        return False
    if machine.state in _SERVING:
        return True
    alive = machine.evidence is not None and judge(machine.evidence, policy).verdict is Verdict.ALIVE
    return machine.state is State.DETECTING and alive
