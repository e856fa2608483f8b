"""The keeper of copies, beside a store that is away at a bad moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from adapters.sql import StoreUnavailable
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.replicas import Replicas
from machines.model import HostId, InstanceId, Machine, MachineId, Replica, Setting, VolumeId, VolumeMount
from machines.policy import Policy
from tests.test_api_stage import BEGIN, Stage, stage

T = TypeVar("T")
MOUNT = VolumeMount(VolumeId(881), "/workspace", Replica(VolumeId(990), HostId(2), BEGIN))


class LosesCommits:
    """Every transaction is rolled back at its end, as if the connection broke there."""

    def __init__(self, s: Stage) -> None:
        self._store = s.store

    async def transact(self, work: Callable[[Tx], T]) -> T:
        def lost(tx: Tx) -> T:
            found = work(tx)
            if isinstance(found, tuple):
                return found  # A look.
            raise StoreUnavailable("the connection is lost")

        return await self._store.transact(lost)


async def test_a_copy_whose_giving_up_was_not_written_is_still_the_machines_for_this_process() -> None:
    async with stage() as s:
        one = Machine(MachineId(3), "m", primary=InstanceId(7), volume=MOUNT, setting=Setting.CPU_STANDBY)
        s.loop.follow(await s.store.transact(lambda tx: tx.insert_machine(one)))
        unused: Any = None
        store: Any = LosesCommits(s)
        with pytest.raises(StoreUnavailable):
            await Replicas(store, s.loop, unused, Policy(), s.clock, Announcer("test")).look()
        assert [known.volume for known in s.loop.machines()] == [MOUNT]
        await Replicas(s.store, s.loop, unused, Policy(), s.clock, Announcer("test")).look()
        (known,) = s.loop.machines()
        assert known.volume is not None
        assert known.volume.replica is None
