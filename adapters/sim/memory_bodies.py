"""Gives the world's instances bodies in memory: files are bytes in a dict, agents are handed in, nothing is a process.

The twin of embodiment.py for simulations on virtual time. It runs the scripts that our steps lay down and the few lines
that a simulated customer uses; any other line is an error of the simulation and never silently a success.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from adapters.sim import core
from adapters.sim.instances import Instance
from adapters.sim.world import World
from machines.onstart import held_script
from machines.shell_lines import AGENT_LINE, ONSTART_LINE, UnknownLine

WORKLOAD = "serve"
"""The customer's program: where this line runs, the instance does the machine's work."""


class MemoryAgent(Protocol):
    """One running agent. Every call returns at once and is harmless once it has ended."""

    @property
    def is_running(self) -> bool: ...
    def status(self) -> tuple[str, int] | None:
        """(boot id, sequence) as it would have written them down; None before its first beat."""
        ...

    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class MemoryStarter(Protocol):
    """Starts what the agent's command line on an instance would start."""

    def start(self, instance_id: int, argv: Sequence[str], env: Mapping[str, str], body: MemoryBody) -> MemoryAgent: ...


Files = dict[str, bytes]


@dataclass(slots=True)
class MemoryBody:
    """One container. `works` says that the customer's program was started in it and has not ended since."""

    instance: Instance
    starter: MemoryStarter
    volumes: Mapping[int, Files]
    disk: Files = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    """Lines that somebody wrote into onstart.sh after the container was made."""
    agent_script: str | None = None
    may_serve: bool = False
    was_held: bool = False
    works: bool = False
    gpu_works: bool = True
    agent: MemoryAgent | None = None
    doors: dict[str, str] = field(default_factory=dict)
    """What the key of a CPU VM may do here: read or write the workspace."""
    argv: Sequence[str] = ()
    """Of the agent that was started last."""

    @property
    def serves(self) -> bool:
        """Does the machine's work, in truth and now."""
        return self.works and self.instance.serves

    @property
    def host_key(self) -> str:
        return f"ssh-ed25519 simulated-host-key-of-{self.instance.id}"

    # -- files

    def read(self, path: str) -> bytes | None:
        files, key = self._place(path)
        return files.get(key)

    def write(self, path: str, content: bytes) -> None:
        files, key = self._place(path)
        files[key] = content

    def under(self, folder: str) -> Files:
        """The regular files of a folder by their relative paths."""
        files, key = self._place(folder)
        start = key.rstrip("/") + "/" if key else ""
        return {name.removeprefix(start): content for name, content in sorted(files.items()) if name.startswith(start)}

    def replace_under(self, folder: str, content: Files) -> None:
        """The folder holds these files and no others."""
        for name in self.under(folder):
            files, key = self._place(f"{folder.rstrip('/')}/{name}")
            del files[key]
        for name, written in content.items():
            self.write(f"{folder.rstrip('/')}/{name}", written)

    def _place(self, path: str) -> tuple[Files, str]:
        """The files that hold the path, a volume's or the container's own, and its name there."""
        for mount in self.instance.mounts:
            root = mount.path.rstrip("/")
            if path == root or path.startswith(root + "/"):
                return self.volumes[mount.volume_id], path[len(root) :].lstrip("/")
        return self.disk, path.lstrip("/")

    # -- life

    def boot(self) -> None:
        self.gpu_works = True
        if self.instance.onstart is not None:
            self.run_script(self.instance.onstart)
        for line in self.added:
            self._run_line(line)

    def halt(self, *, hard: bool) -> None:
        """The container ends; its agent gets a last word unless the power is gone."""
        self.works = False
        agent, self.agent = self.agent, None
        if agent is not None and hard:
            agent.kill()
        elif agent is not None:
            agent.terminate()

    def restart_agent(self) -> None:
        """Somebody on the machine starts an agent that has ended."""
        if self.instance.serves and self.agent is not None and not self.agent.is_running:
            self._start_agent(self.argv)

    def freeze(self) -> None:
        if self.agent is not None:
            self.agent.pause()

    def thaw(self) -> None:
        if self.agent is not None:
            self.agent.resume()

    def wipe(self) -> None:
        """A new container: its own disk is empty, its volumes are not."""
        self.disk.clear()
        self.doors.clear()
        self.added.clear()
        self.agent_script, self.may_serve, self.was_held = None, False, False

    def run_script(self, text: str) -> None:
        """As /bin/sh would. Raise UnknownLine."""
        held = held_script(text)
        if held is None:
            for line in text.splitlines():
                self._run_line(line.strip())
        elif self.may_serve:
            self.run_script(held)
        else:
            self.was_held = True

    def let_go(self, onstart: str | None) -> None:
        """The instance becomes its machine: a script that a boot held back runs now."""
        self.may_serve = True
        if self.was_held and onstart is not None:
            self.was_held = False
            self.run_script(onstart)

    def keep_agent(self, script: str) -> None:
        """Lay the agent's script down, start it, and have every boot start it again."""
        self.agent_script = script
        if ONSTART_LINE not in self.added:
            self.added.append(ONSTART_LINE)
        self._run_line(AGENT_LINE)

    def _run_line(self, line: str) -> None:
        if not line or line.startswith("#"):
            return
        if line == WORKLOAD:
            self.works = True
        elif line in (AGENT_LINE, ONSTART_LINE):
            self._run_line(self.agent_script or "")
        elif line.startswith("failoverd agent "):
            self._start_agent(shlex.split(line)[2:])
        else:
            raise UnknownLine(line)

    def _start_agent(self, argv: Sequence[str]) -> None:
        """A second one replaces the first."""
        self.argv = argv
        if self.agent is not None:
            self.agent.kill()
        env = {**self.instance.env, "CONTAINER_ID": str(self.instance.id)}
        self.agent = self.starter.start(self.instance.id, argv, env, self)


class MemoryBodies:
    """All bodies of one world."""

    def __init__(self, world: World, starter: MemoryStarter) -> None:
        self._world, self._starter = world, starter
        self._volumes: dict[int, Files] = {}
        self._snapshots: dict[int, Files] = {}
        self.of: dict[int, MemoryBody] = {}

    def count_agents(self) -> dict[int, int]:
        """How many agents run, by instance."""
        agents = {number: body.agent for number, body in self.of.items()}
        return {number: 1 for number, agent in agents.items() if agent is not None and agent.is_running}

    def apply(self, effect: core.Effect) -> None:
        """Carry out one effect. Those on an instance that is gone meanwhile change nothing."""
        match effect:
            case core.VolumeMade(volume_id, cloned_from):
                self._volumes[volume_id] = dict(self._volumes.get(cloned_from or 0, {}))
            case core.VolumeErased(volume_id):
                self._volumes.pop(volume_id, None)
            case core.SnapshotWanted(snapshot_id):
                self._take(snapshot_id)
            case core.SnapshotDropped(snapshot_id):
                self._snapshots.pop(snapshot_id, None)
            case core.RestoreDue(snapshot_id, instance_id):
                self._restore(snapshot_id, instance_id)
            case core.Created(instance_id):
                instance = self._world.instances.get(instance_id)
                if instance is not None:
                    self.of[instance_id] = MemoryBody(instance, self._starter, self._volumes)
            case _:
                body = self.of.get(effect.instance_id)
                if body is not None:
                    self._apply_to_body(effect, body)

    def _apply_to_body(
        self,
        effect: core.Booted
        | core.SshOpened
        | core.Halted
        | core.Wiped
        | core.Frozen
        | core.Thawed
        | core.GpuBroken
        | core.Erased,
        body: MemoryBody,
    ) -> None:
        match effect:
            case core.Booted():
                body.boot()
            case core.Halted(_, hard):
                body.halt(hard=hard)
            case core.Wiped():
                body.wipe()
            case core.Frozen():
                body.freeze()
            case core.Thawed():
                body.thaw()
            case core.GpuBroken():
                body.gpu_works = False
            case core.Erased(instance_id):
                body.halt(hard=True)
                del self.of[instance_id]
            case core.SshOpened():
                pass  # The world's own flag says whether the port answers.
            case _:
                assert_never(effect)

    def _take(self, snapshot_id: int) -> None:
        keeper = self._world.snapshots
        snapshot = keeper.snapshots.get(snapshot_id)
        body = self.of.get(snapshot.instance_id) if snapshot is not None else None
        if snapshot is None or body is None or not body.instance.serves:
            keeper.taken(snapshot_id, None)
            return
        files = body.under(snapshot.workspace)
        self._snapshots[snapshot_id] = files
        keeper.taken(snapshot_id, {path: digest(content) for path, content in files.items()})

    def _restore(self, snapshot_id: int, instance_id: int) -> None:
        keeper, body = self._world.snapshots, self.of.get(instance_id)
        files, restore = self._snapshots.get(snapshot_id), keeper.restores[snapshot_id, instance_id]
        if files is None or body is None or not body.instance.serves:
            keeper.restored(snapshot_id, instance_id, "the snapshot or the instance is gone")
            return
        for path, content in files.items():
            body.write(f"{restore.workspace.rstrip('/')}/{path}", content)
        keeper.restored(snapshot_id, instance_id, None)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
