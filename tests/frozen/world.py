"""What is true at the provider, as plain data and back: hosts, rentals, volumes, snapshots, and what lies in them.

It is written down when everything that was on its way has arrived, so no plan of the world's is part of it.
"""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any

import msgspec

from adapters.sim.core import NumberedPorts
from adapters.sim.hosts import Host
from adapters.sim.instances import Instance
from adapters.sim.memory_bodies import MemoryBody
from adapters.sim.snapshots import Restore, Snapshot
from adapters.sim.volumes import Volume
from daemon.simulation.agents import TaskAgent
from daemon.simulation.theatre import PUBLIC_KEY, Theatre

SETTLES_S = 240.0
"""Longer than a boot, a stop, a release and an offline host take."""


def write_down(theatre: Theatre) -> dict[str, Any]:
    """Of a world that has settled."""
    world, bodies = theatre.world.world, theatre.world.bodies
    return {
        "next": {
            "instance": world.rentals._next_id,
            "volume": world.volumes._next_id,
            "snapshot": world.snapshots._next_id,
            "port": world.core.ports.renew(0),
        },
        "hosts": [msgspec.to_builtins(host) for host in world.hosts.values()],
        "instances": [_row(instance) for instance in world.instances.values()],
        "volumes": [_row(volume) for volume in world.volumes.volumes.values()],
        "snapshots": [msgspec.to_builtins(snapshot) for snapshot in world.snapshots.snapshots.values()],
        "restores": [msgspec.to_builtins(restore) for restore in world.snapshots.restores.values()],
        "bodies": [_body(body) for body in bodies.of.values()],
        "volume_files": {str(number): _texts(files) for number, files in bodies._volumes.items()},
        "snapshot_files": {str(number): _texts(files) for number, files in bodies._snapshots.items()},
    }


def build(theatre: Theatre, truth: dict[str, Any]) -> None:
    """Into an empty world, at the theatre's present time."""
    world, now = theatre.world.world, theatre.clock.now()
    world.advance(now)
    world.account.add_key({"ssh_key": PUBLIC_KEY})
    assert isinstance(world.core.ports, NumberedPorts)
    world.core.ports._next = count(truth["next"]["port"])
    hosts: dict[int, Host] = {row["machine_id"]: msgspec.convert(row, Host) for row in truth["hosts"]}
    world.market.land.hosts.update(hosts)
    world.market.land._next_machine = max(hosts) + 1
    world.market.land._next_id = max(host.bundle_id for host in hosts.values()) + 3
    _volumes(theatre, truth, hosts, now)
    _instances(theatre, truth, hosts, now)
    _snapshots(theatre, truth)
    for host in hosts.values():
        world.market.relist(host)
    theatre.world.carry_out()


def _row(thing: Instance | Volume) -> dict[str, Any]:
    """A host is named by its number."""
    return {**msgspec.to_builtins(thing), "host": thing.host.machine_id}


def _texts(files: dict[str, bytes]) -> dict[str, str]:
    return {name: content.hex() for name, content in sorted(files.items())}


def _bytes(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in texts.items()}


def _body(body: MemoryBody) -> dict[str, Any]:
    agent = body.agent
    assert agent is None or isinstance(agent, TaskAgent)
    return {
        "instance": body.instance.id,
        "disk": _texts(body.disk),
        "added": body.added,
        "agent_script": body.agent_script,
        "may_serve": body.may_serve,
        "was_held": body.was_held,
        "works": body.works,
        "gpu_works": body.gpu_works,
        "argv": list(body.argv),
        "agent": [agent._agent.boot_id, agent._agent.sequence] if agent is not None and agent.is_running else None,
    }


def _volumes(theatre: Theatre, truth: dict[str, Any], hosts: dict[int, Host], now: datetime) -> None:
    shelf = theatre.world.world.volumes
    for row in truth["volumes"]:
        volume = msgspec.convert({**row, "host": msgspec.to_builtins(hosts[row["host"]])}, Volume)
        volume.host = hosts[row["host"]]
        shelf.volumes[volume.id] = volume
        shelf.meter(volume, now)
    shelf._next_id = truth["next"]["volume"]
    theatre.world.bodies._volumes.update({int(number): _bytes(rows) for number, rows in truth["volume_files"].items()})


def _instances(theatre: Theatre, truth: dict[str, Any], hosts: dict[int, Host], now: datetime) -> None:
    rentals, bodies = theatre.world.world.rentals, theatre.world.bodies
    for row in truth["instances"]:
        instance = msgspec.convert({**row, "host": msgspec.to_builtins(hosts[row["host"]])}, Instance)
        instance.host = hosts[row["host"]]
        rentals.instances[instance.id] = instance
        rentals.lifecycle.meter(instance, now)
    rentals._next_id = truth["next"]["instance"]
    for row in truth["bodies"]:
        body = MemoryBody(rentals.instances[row["instance"]], bodies._starter, bodies._volumes)
        bodies.of[row["instance"]] = body
        body.disk.update(_bytes(row["disk"]))
        body.added += row["added"]
        body.agent_script, body.may_serve, body.was_held = row["agent_script"], row["may_serve"], row["was_held"]
        body.works, body.gpu_works, body.argv = row["works"], row["gpu_works"], row["argv"]
        if row["agent"] is not None:
            _speak_on(body, *row["agent"])


def _speak_on(body: MemoryBody, boot_id: str, sequence: int) -> None:
    """The agent never ended: it is the same boot."""
    body._start_agent(body.argv)
    agent = body.agent
    assert isinstance(agent, TaskAgent)
    agent._agent.boot_id, agent._agent.sequence = boot_id, sequence


def _snapshots(theatre: Theatre, truth: dict[str, Any]) -> None:
    keeper = theatre.world.world.snapshots
    for row in truth["snapshots"]:
        snapshot = msgspec.convert(row, Snapshot)
        keeper.snapshots[snapshot.id] = snapshot
    for row in truth["restores"]:
        restore = msgspec.convert(row, Restore)
        keeper.restores[restore.snapshot_id, restore.instance_id] = restore
    keeper._next_id = truth["next"]["snapshot"]
    theatre.world.bodies._snapshots.update(
        {int(number): _bytes(rows) for number, rows in truth["snapshot_files"].items()}
    )
