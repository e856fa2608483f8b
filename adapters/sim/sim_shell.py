"""The port Shell on a world in memory: SSH as a client sees it, without a socket and without a shell.

Commands are read by machines/shell_lines.py and carried out on the instance's body. One that no step of ours sends is
an error of the simulation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import assert_never

from adapters.sim.instances import Instance
from adapters.sim.memory_bodies import MemoryBodies, MemoryBody, digest
from adapters.sim.world import World
from machines.errors import KeyNotAccepted, NotYet, Refused, Unknown
from machines.model import Endpoint
from machines.ports import Clock, Reach, ShellResult
from machines.shell_lines import (
    MISSING,
    CheckPlace,
    HashFiles,
    LaySnapshotOrder,
    Line,
    ListGpus,
    ReadMarker,
    ShowAgentStatus,
    StartServing,
    WriteMarker,
    read,
    read_agent,
)
from machines.vm_lines import MARK, Door, OpenDoor
from machines.vm_lines import read as read_door

_GREETS_WITHIN_S = 0.1
_COMMAND_S = 0.4
_SILENT_S = 5.0
_LOGIN_S = 10.0
_AGAIN = timedelta(seconds=5)


class SimShell:
    """`public_key` is the caller's: containers accept the keys that their account had when they were made."""

    def __init__(self, world: World, bodies: MemoryBodies, clock: Clock, public_key: str) -> None:
        self._world, self._bodies, self._clock = world, bodies, clock
        self.public_key = public_key
        self.on_command: Callable[[int, Line], None] = lambda instance, line: None
        """Told of each command that is about to be carried out."""

    async def reach(self, endpoint: Endpoint) -> Reach:
        instance = self._at(endpoint)
        if instance is not None and self._is_mute(instance):
            await self._clock.sleep(_SILENT_S)
            return Reach.SILENT
        await self._clock.sleep(_GREETS_WITHIN_S)
        return Reach.ANSWERED if self._body(endpoint) is not None else Reach.REFUSED

    async def run(
        self,
        endpoint: Endpoint,
        command: str,
        host_key: str | None = None,
        timeout_s: float = 60.0,
        stdin: bytes = b"",
    ) -> ShellResult:
        """Raise what the port says, and UnknownLine for a command that nobody has defined."""
        door = read_door(command)
        line = door if isinstance(door, OpenDoor) else read(command)
        instance = self._at(endpoint)
        if instance is not None and self._is_mute(instance):
            await self._clock.sleep(_LOGIN_S)
        await self._clock.sleep(_GREETS_WITHIN_S)
        body = self._body(endpoint)
        if body is None:
            raise NotYet(f"no SSH yet: {endpoint}", _AGAIN)
        if host_key is not None and host_key != body.host_key:
            raise Refused("ssh_unreachable", f"not the host that we know: {endpoint}")
        if self.public_key not in body.instance.authorized_keys:
            raise KeyNotAccepted(f"our key is not accepted yet: {endpoint}", _AGAIN)
        await self._clock.sleep(_COMMAND_S)
        if self._body(endpoint) is not body:
            raise Unknown("the connection broke, the command may still run")
        if isinstance(line, OpenDoor):
            status, stdout, stderr = _open_door(line, body)
        else:
            self.on_command(body.instance.id, line)
            status, stdout, stderr = _carry_out(line, body, stdin)
        return ShellResult(status, stdout, stderr, body.host_key)

    def body_at(self, endpoint: Endpoint) -> MemoryBody | None:
        """Of the container that would let an SSH client in there now."""
        instance = self._at(endpoint)
        return None if instance is None or self._is_mute(instance) else self._body(endpoint)

    def _at(self, endpoint: Endpoint) -> Instance | None:
        """Ports are never given twice, so the port alone names the instance."""
        return next((one for one in self._world.instances.values() if one.port == endpoint.port), None)

    def _is_mute(self, instance: Instance) -> bool:
        return not instance.host.alive or instance.is_frozen

    def _body(self, endpoint: Endpoint) -> MemoryBody | None:
        instance = self._at(endpoint)
        answers = instance is not None and instance.serves and instance.ssh_open
        return self._bodies.of.get(instance.id) if instance is not None and answers else None


Said = tuple[int, str, str]


def _carry_out(line: Line, body: MemoryBody, stdin: bytes) -> Said:
    match line:
        case ListGpus():
            return _gpus(body, "GPU {n}: {name} (UUID: GPU-{host:08x}-{n})\n")
        case CheckPlace():
            status, stdout, stderr = _gpus(body, "{name}\n")
            return status, f"{stdout}---\n{_disk(body)}\n" if status == 0 else stdout, stderr
        case HashFiles(workspace):
            files = body.under(workspace)
            names = [name.decode("utf-8", "surrogateescape").removeprefix("./") for name in stdin.split(b"\0")[:-1]]
            return 0, "".join(f"{digest(files[name]) if name in files else MISSING}\n" for name in names), ""
        case ReadMarker(_, marker):
            content = body.read(marker)
            return 0, "unmarked\n" if content is None else content.decode(), ""
        case WriteMarker(_, machine, marker):
            body.write(marker, f"{machine}\n".encode())
            return 0, "", ""
        case ShowAgentStatus():
            wrote = body.agent.status() if body.agent is not None else None
            if wrote is None:
                return 1, "", "cat: agent.json: No such file or directory"
            return 0, json.dumps({"boot_id": wrote[0], "sequence": wrote[1]}), ""
        case LaySnapshotOrder():
            body.write("/root/.failoverd/snapshots.json", stdin)
            return 0, "", ""
        case StartServing(onstart, agent):
            body.let_go(onstart)
            body.keep_agent(read_agent(agent).script)
            return 0, "", ""
        case _:
            assert_never(line)


def _open_door(line: OpenDoor, body: MemoryBody) -> Said:
    """The key of the machine's CPU VM is let in; to be read, the workspace must be there and bear the machine's mark."""
    mark = f"{line.workspace.rstrip('/')}/{MARK}"
    match line.mode:
        case Door.SHUT:
            body.doors.pop(line.key, None)
        case Door.READ:
            if not body.under(line.workspace):
                return 0, f"empty {line.workspace} is empty\n", ""
            known = body.read(mark)
            if known is not None and known != f"{line.machine}\n".encode():
                return 0, f"foreign {line.workspace} is marked for machine {known.decode().strip()}\n", ""
            body.write(mark, f"{line.machine}\n".encode())
            body.doors[line.key] = f"read {line.workspace}"
        case Door.WRITE:
            body.doors[line.key] = f"write {line.workspace}"
        case _:
            assert_never(line.mode)
    return 0, f"open {line.mode.value}\n", ""


def _gpus(body: MemoryBody, row: str) -> Said:
    if not body.gpu_works:
        return 15, "", "Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost."
    instance = body.instance
    name, host = f"NVIDIA {instance.host.kind.name}", instance.host.machine_id
    return 0, "".join(row.format(n=n, name=name, host=host) for n in range(instance.num_gpus)), ""


def _disk(body: MemoryBody) -> str:
    blocks = int(body.instance.disk_gb * 1_000_000)
    return f"overlay {blocks} {blocks // 50} {blocks - blocks // 50} 2% /"
