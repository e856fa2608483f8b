"""The provider's truth as rows: what tests and invariants are checked against, never the daemon's own opinion."""

from datetime import datetime
from typing import Any

from adapters.sim.compute import Vm
from adapters.sim.hosts import Host
from adapters.sim.instances import Instance
from adapters.sim.snapshots import Restore, Snapshot
from adapters.sim.volumes import Volume
from adapters.sim.world import World


def world_in_brief(world: World, agents: dict[int, int]) -> dict[str, Any]:
    """The instances alone, and of those without a body only the ones that do not serve: what may be looked at often,
    also where there are thousands."""
    now = world.now
    told = [one for one in sorted_by_id(world.instances) if one.has_body or not one.serves or one.intended != "running"]
    return {
        "now": now.isoformat(),
        "count": len(world.instances),
        "instances": [instance_truth(world, one, now, agents.get(one.id, 0)) for one in told],
    }


def world_truth(world: World, agents: dict[int, int]) -> dict[str, Any]:
    """Everything that exists now; `agents` counts the agents that really run, by instance."""
    now, ledger = world.now, world.ledger
    return {
        "now": now.isoformat(),
        "seed": world.core.seed,
        "hosts": [host_truth(host) for host in world.hosts.values()],
        "instances": [instance_truth(world, one, now, agents.get(one.id, 0)) for one in sorted_by_id(world.instances)],
        "volumes": [volume_truth(world, one, now) for one in sorted_by_id(world.volumes.volumes)],
        "snapshots": [snapshot_truth(one) for one in sorted_by_id(world.snapshots.snapshots)],
        "vms": [vm_truth(world, vm, now) for vm in sorted(world.compute.vms.values(), key=lambda vm: vm.id)],
        "vm_bill": {"total": world.compute.ledger.total(now), "vms": world.compute.ledger.sum("vm", now)},
        "bill": {
            "total": ledger.total(now),
            "gpu": ledger.sum("gpu", now),
            "storage": ledger.sum("storage", now),
            "volumes": ledger.sum("volume", now),
            "credit": ledger.balance(now),
            "instances": {str(one): cost for one, cost in ledger.by_instance(now).items()},
        },
    }


def sorted_by_id(things: dict[int, Any]) -> list[Any]:
    return [things[number] for number in sorted(things)]


def host_truth(host: Host) -> dict[str, Any]:
    return {
        "id": host.machine_id,
        "label": None,
        "state": "alive" if host.alive else "dead",
        "cost": 0.0,
        "machine_id": host.machine_id,
        "host_id": host.host_id,
        "gpu_name": host.kind.name,
        "num_gpus": len(host.slots),
        "idle_gpus": host.idle(),
        "geolocation": host.place,
    }


def instance_state(instance: Instance) -> str:
    """One word for what is true of it."""
    if not instance.host.alive:
        return "host_dead"
    if instance.is_frozen:
        return "frozen"
    if instance.is_crashed:
        return "crashed"
    if instance.is_up:
        return "running"
    if instance.is_waiting:
        return "waiting_for_gpu"
    return "starting" if instance.current == "running" else "stopped"


def instance_truth(world: World, instance: Instance, now: datetime, agents: int) -> dict[str, Any]:
    ledger = world.ledger
    return {
        "id": instance.id,
        "label": instance.label,
        "state": instance_state(instance),
        "cost": ledger.of_instance(instance.id, now),
        "cost_per_hour": ledger.rate("gpu", instance.id) + ledger.rate("storage", instance.id),
        "host": instance.host.machine_id,
        "host_id": instance.host.host_id,
        "gpu_name": instance.host.kind.name,
        "num_gpus": instance.num_gpus,
        "is_bid": instance.is_bid,
        "env": instance.env,
        "volumes": [{"id": mount.volume_id, "path": mount.path} for mount in instance.mounts],
        "intended_status": instance.intended,
        "actual_status": instance.shown_status(now, world.settings),
        "cur_state": instance.current,
        "ssh_host": world.settings.public_address,
        "ssh_port": instance.port,
        "ssh_open": instance.ssh_open,
        "serving": instance.serves,
        "agents": agents,
        "fate": None if instance.fate is None else instance.fate.value,
        "starts": instance.starts,
        "created_at": instance.created_at.isoformat(),
    }


def volume_truth(world: World, volume: Volume, now: datetime) -> dict[str, Any]:
    return {
        "id": volume.id,
        "label": volume.label,
        "state": volume.status,
        "cost": world.ledger.cost("volume", volume.id, now),
        "host": volume.host.machine_id,
        "size_gb": volume.size_gb,
        "instances": list(volume.holders),
    }


def vm_truth(world: World, vm: Vm, now: datetime) -> dict[str, Any]:
    ledger = world.compute.ledger
    return {
        "id": vm.id,
        "label": vm.name,
        "state": vm.status,
        "cost": ledger.cost("vm", vm.id, now) + ledger.cost("disk", vm.id, now),
        "cost_per_hour": ledger.rate("vm", vm.id) + ledger.rate("disk", vm.id),
        "zone": vm.zone,
        "labels": dict(vm.labels),
        "is_spot": vm.is_spot,
        "address": vm.address,
    }


def snapshot_truth(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "label": snapshot.label,
        "state": "verified" if snapshot.verified else "copying",
        "cost": 0.0,
        "machine_id": snapshot.machine_id,
        "instance_id": snapshot.instance_id,
        "workspace": snapshot.workspace,
        "taken_at": snapshot.taken_at.isoformat(),
        "size_bytes": snapshot.size_bytes,
        "verified": snapshot.verified,
    }


def restore_truth(restore: Restore, now: datetime) -> dict[str, Any]:
    return {
        "state": restore.state,
        "why": restore.why,
        "bytes_done": restore.bytes_done(now),
        "bytes_total": restore.bytes_total,
        "rate": restore.rate,
        "seconds": (now - restore.started_at).total_seconds(),
    }
