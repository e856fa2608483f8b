"""A volume that is newer than what its machine went on with: told, remembered, a person's to take, and at last deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.sweep import Sweep
from daemon.volume_orphans import VolumeOrphans
from machines.model import (
    DebtKind,
    HostId,
    InstanceId,
    MachineId,
    Volume,
    VolumeId,
    VolumeMount,
)
from machines.policy import Policy
from machines.volumes import KEPT_FOR, volume_label
from tests.test_api_stage import Stage, stage
from tests.test_sweep import Provider, another_life, look_again

VOLUME = VolumeId(881)
ALERT = "volume-881-kept"


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


async def moved(s: Stage) -> None:
    """By a cpu_standby, off a volume whose host lives."""
    await s.machine(volume=VolumeMount(VOLUME, "/workspace"))
    asked = await s.begin()
    await s.win()
    await asked


async def volumes_owed(s: Stage) -> list[tuple[DebtKind, VolumeId | None]]:
    return [(one.kind, one.volume) for one in await s.store.transact(lambda tx: tx.open_debts()) if one.volume]


async def test_it_stays_for_its_time_whoever_restarts_and_then_goes_with_its_alert() -> None:
    async with stage() as s:
        provider = Provider()
        await moved(s)
        for _ in range(6):
            sweep: Sweep = another_life(s, provider)
            alerts = await look_again(s, sweep, 3, timedelta(hours=9).total_seconds())
            assert ALERT in alerts
        assert provider.deleted == []
        assert await volumes_owed(s) == [(DebtKind.KEEP_VOLUME, VOLUME)]
        await s.clock.advance((KEPT_FOR - timedelta(hours=6 * 27)).total_seconds())
        alerts = await look_again(s, another_life(s, provider), 3, 60.0)
        assert (provider.deleted, await volumes_owed(s), ALERT in alerts) == ([VOLUME], [], False)


async def test_a_machine_that_is_given_it_ends_its_keeping_and_what_it_owes() -> None:
    async with stage() as s:
        await moved(s)
        now = await s.stored()
        assert now.primary is not None
        assert now.host is not None
        s.outside.shelf[VOLUME] = Volume(VOLUME, now.host, 20.0, (now.primary,))
        answer = await s.http.put("/api/v1/machines/123", json={"volume_id": int(VOLUME)})
        assert answer.status_code == 200, answer.text
        alerts = {alert.key for alert in await s.store.transact(lambda tx: tx.open_alerts())}
        assert (await volumes_owed(s), ALERT in alerts) == ([], False)


async def test_where_a_machine_may_go_on_with_it_it_waits_beyond_its_time() -> None:
    async with stage() as s:
        provider = Provider()
        await moved(s)
        other = replace(await s.stored(), id=MachineId(7), name="other", primary=InstanceId(1), version=0)
        other = replace(other, volume=VolumeMount(VOLUME, "/workspace"))
        await s.store.transact(lambda tx: tx.insert_machine(other))
        await s.clock.advance(KEPT_FOR.total_seconds() + 60)
        await look_again(s, another_life(s, provider), 3, 120.0)
        assert (provider.deleted, await volumes_owed(s)) == ([], [(DebtKind.KEEP_VOLUME, VOLUME)])


class Shelf:
    """One volume of this deployment's name, which has no row."""

    async def volumes(self, max_age_s: float = 0.0) -> dict[VolumeId, Volume]:
        return {VOLUME: Volume(VOLUME, HostId(100), 20.0, (), volume_label("fo-x", 1, 0))}


async def test_it_is_no_orphan_while_it_is_kept() -> None:
    async with stage() as s:
        await moved(s)
        shelf: Any = Shelf()
        of_fleet: Any = SimpleNamespace(fleet=Policy())
        orphans = VolumeOrphans(s.store, shelf, of_fleet, s.clock, "fo-x")
        for _ in range(3):
            await orphans.find()
            await s.clock.advance(61)
        assert await volumes_owed(s) == [(DebtKind.KEEP_VOLUME, VOLUME)]
