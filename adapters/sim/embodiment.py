"""Gives the world's instances bodies: carries out effects in folders, sockets and processes, in their order."""

import asyncio
import resource
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, assert_never

from adapters.sim import core
from adapters.sim.agents import AgentStarter
from adapters.sim.body import Body
from adapters.sim.sandbox import Grounds, copy_tree, differences
from adapters.sim.sockets import LoopbackPorts
from adapters.sim.world import World
from machines.ports import Clock

SCRIPTS_AT_ONCE = 8


class Embodiment:
    """All bodies of one world, under one folder."""

    def __init__(self, world: World, ports: LoopbackPorts, folder: Path, clock: Clock, starter: AgentStarter) -> None:
        self._world, self._ports, self._clock, self._starter = world, ports, clock, starter
        self._grounds = Grounds(folder)
        self._bodies: dict[int, Body] = {}
        self._turn = asyncio.Semaphore(SCRIPTS_AT_ONCE)
        self._copies: set[asyncio.Task[None]] = set()
        self._door: asyncio.Server | None = None
        _raise_file_limit()

    def count_agents(self) -> dict[int, int]:
        """How many agents really run, by instance."""
        agents = {number: body.agent for number, body in self._bodies.items()}
        return {number: 1 for number, agent in agents.items() if agent is not None and agent.is_running}

    async def apply(self, effect: core.Effect) -> None:
        """Carry out one effect. Those on an instance that is gone meanwhile change nothing."""
        match effect:
            case core.VolumeMade() | core.VolumeErased():
                self._apply_to_volume(effect)
            case core.SnapshotWanted() | core.SnapshotDropped() | core.RestoreDue():
                self._apply_to_snapshot(effect)
            case core.Created(instance_id):
                await self._create(instance_id)
            case _:
                body = self._bodies.get(effect.instance_id)
                if body is not None:
                    await self._apply_to_body(effect, body)

    async def _apply_to_body(
        self,
        effect: core.Booted
        | core.SshOpened
        | core.Halted
        | core.Wiped
        | core.Frozen
        | core.Thawed
        | core.GpuBroken
        | core.Erased,
        body: Body,
    ) -> None:
        match effect:
            case core.Booted():
                body.boot(self._turn)
            case core.SshOpened():
                await body.open_ssh()
            case core.Halted(_, hard):
                await body.halt(hard=hard)
            case core.Wiped():
                body.wipe()
            case core.Frozen():
                await body.freeze()
            case core.Thawed():
                await body.thaw()
            case core.GpuBroken():
                body.break_gpu()
            case core.Erased(instance_id):
                await self._bodies.pop(instance_id).erase()
            case _:
                assert_never(effect)

    async def _create(self, instance_id: int) -> None:
        instance = self._world.instances.get(instance_id)
        if instance is None:
            return
        if not instance.has_body:
            await self._open_door()
            return
        sandbox = self._grounds.instance(instance)
        body = Body(instance, sandbox, self._ports, self._starter, self._sleep_really)
        body.create()
        self._bodies[instance_id] = body

    async def _open_door(self) -> None:
        """Whoever asks whether an instance without a body answers is greeted, and no more."""
        if self._door is None:
            self._door = await asyncio.start_server(_greet, sock=self._ports.door())

    def _apply_to_volume(self, effect: core.VolumeMade | core.VolumeErased) -> None:
        folder = self._grounds.volume(effect.volume_id)
        match effect:
            case core.VolumeMade(_, cloned_from):
                folder.mkdir(parents=True, exist_ok=True)
                if cloned_from is not None:
                    copy_tree(self._grounds.volume(cloned_from), folder)
            case core.VolumeErased():
                shutil.rmtree(folder, ignore_errors=True)
            case _:
                assert_never(effect)

    def _apply_to_snapshot(self, effect: core.SnapshotWanted | core.SnapshotDropped | core.RestoreDue) -> None:
        """Copies run in a thread, so that a large workspace does not hold up the world."""
        match effect:
            case core.SnapshotWanted(snapshot_id):
                self._copy(self._take(snapshot_id))
            case core.SnapshotDropped(snapshot_id):
                shutil.rmtree(self._grounds.snapshot(snapshot_id), ignore_errors=True)
            case core.RestoreDue(snapshot_id, instance_id):
                self._copy(self._restore(snapshot_id, instance_id))
            case _:
                assert_never(effect)

    async def _take(self, snapshot_id: int) -> None:
        snapshot = self._world.snapshots.snapshots.get(snapshot_id)
        body = self._bodies.get(snapshot.instance_id) if snapshot is not None else None
        if snapshot is None or body is None:
            return
        source, target = body.workspace(snapshot.workspace), self._grounds.snapshot(snapshot_id)
        try:
            manifest = await asyncio.to_thread(copy_tree, source, target)
        except OSError:
            self._world.snapshots.taken(snapshot_id, None)  # The instance went away under the copy.
            return
        instance = self._world.instances.get(snapshot.instance_id)
        self._world.snapshots.taken(snapshot_id, manifest if instance is not None and instance.serves else None)

    async def _restore(self, snapshot_id: int, instance_id: int) -> None:
        keeper, body = self._world.snapshots, self._bodies.get(instance_id)
        snapshot, restore = keeper.snapshots.get(snapshot_id), keeper.restores[snapshot_id, instance_id]
        if snapshot is None or snapshot.manifest is None or body is None:
            keeper.restored(snapshot_id, instance_id, "the snapshot or the instance is gone")
            return
        source, target = self._grounds.snapshot(snapshot_id), body.workspace(restore.workspace)
        try:
            await asyncio.to_thread(copy_tree, source, target)
            wrong = await asyncio.to_thread(differences, target, snapshot.manifest)
        except OSError as error:
            keeper.restored(snapshot_id, instance_id, f"the copy failed: {error}")
            return
        keeper.restored(snapshot_id, instance_id, f"differs from the manifest: {wrong[0]!r}" if wrong else None)

    def _copy(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _sleep_really(self, seconds: float) -> None:
        """Processes and sockets live in real time, whatever the world's speed."""
        await self._clock.sleep(self._clock.real(seconds))

    def place(self, instance_id: int, path: str) -> Path:
        """Where a path of the instance really lies. Raise KeyError where it has no body."""
        return self._bodies[instance_id].workspace(path)

    async def close(self) -> None:
        """End every agent, process and port."""
        await asyncio.gather(*self._copies, return_exceptions=True)
        await asyncio.gather(*(body.close() for body in self._bodies.values()))
        self._bodies.clear()
        if self._door is not None:
            self._door.close()
            self._door = None
        self._ports.close()


async def _greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-failoverd_sim\r\n")
    writer.close()


def _raise_file_limit() -> None:
    """A large fleet holds two sockets for each instance; take what the system grants without asking."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # The fleet stays as large as the present limit allows.
