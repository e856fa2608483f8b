"""A standby is its machine's as long as it has that one's volume and the provider shows it; else another is owed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from daemon.announce import Announcer
from daemon.prepared_pools import PreparedPools
from daemon.rearm import Rearm, rearm_debt
from daemon.rented_ahead import RentedAhead
from machines.errors import NotYet, StepError, Unknown
from machines.model import (
    Claim,
    Debt,
    DebtKind,
    HostId,
    Instance,
    InstanceId,
    Label,
    LandlordId,
    Listing,
    Machine,
    MachineId,
    Offer,
    OfferId,
    Setting,
    Standby,
    Status,
    Volume,
    VolumeId,
    VolumeMount,
    Workload,
)
from machines.policy import Policy
from tests.test_api_stage import BEGIN, Stage, instance, stage
from tests.test_sweep import rental

PRIMARY, STANDBY = InstanceId(456789), InstanceId(7002)
HOME, ELSEWHERE = HostId(60), HostId(90)
MOUNT, FORMER = VolumeMount(VolumeId(881), "/workspace"), VolumeId(880)
LABEL = Label("fo-x-m123-standby-1-0")
OURS = Standby(STANDBY, HOME, LABEL)
PATH = "/api/v1/machines/123"


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


@asynccontextmanager
async def armed(standby: Standby | None = OURS, **more: Any) -> AsyncIterator[Stage]:
    async with stage() as s:
        await s.machine(setting=Setting.BOTH, volume=MOUNT, host=HOME, standby=standby, **more)
        s.outside.shelf = {
            number: Volume(number, HOME, 20.0, (PRIMARY, STANDBY)) for number in (MOUNT.id, VolumeId(882))
        }
        yield s


async def owed(s: Stage) -> list[tuple[DebtKind, int | None, Label | None]]:
    return [(one.kind, one.instance, one.label) for one in await s.store.transact(lambda tx: tx.open_debts())]


REARM = (DebtKind.REARM, None, None)
REPLACED = [(DebtKind.DESTROY_CLAIM, STANDBY, LABEL), REARM]


# -- what an operator changes


async def test_a_standby_does_not_follow_its_machine_to_another_volume() -> None:
    """Seen: it kept the former volume mounted, and that bears the machine's marker: old work was served as new."""
    async with armed() as s:
        assert (await s.http.put(PATH, json={"volume_id": 882})).status_code == 200
        assert ((await s.stored()).volume, (await s.stored()).standby) == (replace(MOUNT, id=VolumeId(882)), None)
        assert await owed(s) == REPLACED


async def test_nor_to_another_host() -> None:
    async with armed() as s:
        s.outside.instances[7100] = replace(instance(7100), host=ELSEWHERE)
        s.outside.shelf[MOUNT.id] = Volume(MOUNT.id, ELSEWHERE, 20.0, (InstanceId(7100),))
        assert (await s.http.put(PATH, json={"gpu_instance_id": 7100})).status_code == 200
        assert (await s.stored()).standby is None
        assert await owed(s) == REPLACED


async def test_a_standby_that_an_operator_made_the_machine_is_not_destroyed() -> None:
    async with armed() as s:
        s.outside.instances[7002] = instance(7002)
        assert (await s.http.put(PATH, json={"gpu_instance_id": 7002})).status_code == 200
        assert ((await s.stored()).primary, (await s.stored()).standby) == (STANDBY, None)
        assert await owed(s) == [REARM]


async def test_one_that_an_operator_named_is_destroyed_by_its_number() -> None:
    async with armed(Standby(STANDBY, HOME)) as s:
        assert (await s.http.put(PATH, json={"volume_id": 882})).status_code == 200
        assert await owed(s) == [(DebtKind.DESTROY_INSTANCE, STANDBY, None), REARM]


@pytest.mark.parametrize(
    "said", [{"volume_id": 882, "standby_gpu_instance_id": 7002}, {"volume_id": 881}, {"priority": 3}]
)
async def test_one_that_is_named_anew_or_whose_volume_stays_stays(said: dict[str, int]) -> None:
    async with armed() as s:
        s.outside.instances[7002] = instance(7002)
        assert (await s.http.put(PATH, json=said)).status_code == 200
        kept = (await s.stored()).standby
        assert kept is not None
        assert kept.instance == STANDBY
        assert await owed(s) == []


# -- what is armed


@dataclass
class Booting:
    """A provider at which one rental comes up under the debt's label."""

    row: Instance
    shelf: Mapping[VolumeId, Volume] = field(default_factory=dict)
    fault: StepError | None = None
    destroyed: list[Label] = field(default_factory=list)

    async def rent(self, claim: Claim) -> InstanceId:
        return self.row.id

    async def adopt(self, claim: Claim) -> InstanceId:
        return self.row.id

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        return Listing({self.row.id: self.row}, True, BEGIN)

    async def stop(self, number: InstanceId) -> None:
        self.row = replace(self.row, wants_running=False, status=Status.EXITED)

    async def destroy(self, claim: Claim) -> None:
        self.destroyed.append(claim.label)

    async def volumes(self, max_age_s: float = 0.0) -> Mapping[VolumeId, Volume]:
        if self.fault is not None:
            raise self.fault
        return self.shelf


@dataclass
class Same:
    """One policy for the fleet and each machine."""

    fleet: Policy = field(default_factory=Policy)

    def of(self, machine: Machine) -> Policy:
        return self.fleet


@dataclass
class Arming:
    s: Stage
    cloud: Booting
    rearm: Rearm

    async def debt(self) -> Debt:
        (debt,) = await self.s.store.transact(lambda tx: tx.open_debts())
        return debt

    async def look(self) -> str:
        """What the debt waits for; "" once it is paid."""
        try:
            await self.rearm.settle(await self.debt())
        except (NotYet, Unknown) as error:
            return str(error)
        return ""

    async def until_armed(self) -> Standby | None:
        """It is seen running once, then stopped."""
        assert [await self.look() for _ in range(2)] == ["the standby reads running", ""]
        return (await self.s.stored()).standby


@asynccontextmanager
async def arming(
    rented_with: VolumeId | None = MOUNT.id, host: HostId = HOME, *holders: InstanceId
) -> AsyncIterator[Arming]:
    """A standby has come up that was rented with the volume on the host; the machine lies on its own."""
    unused: Any = None
    row = replace(rental(int(STANDBY), LABEL), host=host, status=Status.RUNNING, wants_running=True)
    cloud: Any = Booting(row, {MOUNT.id: Volume(MOUNT.id, HOME, 20.0, holders or (PRIMARY, STANDBY))})
    async with armed(None) as s:
        rearm = Rearm(s.store, s.loop, cloud, cloud, unused, Same(), s.clock, "fo-x", Announcer("test"))
        owe = replace(rearm_debt(await s.stored(), "it has no standby"), due_at=BEGIN, volume=rented_with)
        await s.store.transact(lambda tx: tx.add_debts((owe,)))
        scene = Arming(s, cloud, rearm)
        fresh = await scene.debt()
        await s.store.transact(lambda tx: tx.bind_debt(fresh, LABEL, BEGIN))
        yield scene


@pytest.mark.parametrize("rented_with", [MOUNT.id, None], ids=["as noted", "as a former version left it"])
async def test_what_was_rented_with_the_machines_volume_is_armed(rented_with: VolumeId | None) -> None:
    async with arming(rented_with) as scene:
        assert await scene.until_armed() == OURS


@pytest.mark.parametrize(
    ("rented_with", "host", "why"),
    [(FORMER, HOME, "rented with volume 880"), (None, ELSEWHERE, "rented on host 90"), (MOUNT.id, ELSEWHERE, "90")],
)
async def test_what_was_rented_for_where_the_machine_lay_before_is_given_up(
    rented_with: VolumeId | None, host: HostId, why: str
) -> None:
    """Seen: the machine moved while its standby came up, and was armed with the former volume."""
    async with arming(rented_with, host) as scene:
        assert why in await scene.look()
        assert scene.cloud.destroyed == [LABEL]
        assert ((await scene.debt()).label, (await scene.s.stored()).standby) == (None, None)


async def test_what_runs_without_the_volume_is_given_up_but_not_by_one_list() -> None:
    async with arming(MOUNT.id, HOME, PRIMARY) as scene:
        for _ in range(12):
            assert "it seems that instance 7002 does not have volume 881" in await scene.look()
            await scene.s.clock.advance(5.0)
        assert scene.cloud.destroyed == []
        await scene.look()
        assert (scene.cloud.destroyed, (await scene.debt()).label) == ([LABEL], None)


async def test_a_list_that_lags_or_fails_gives_nothing_up() -> None:
    async with arming(MOUNT.id, HOME, PRIMARY) as scene:
        assert "it seems" in await scene.look()
        scene.cloud.fault = Unknown("500")
        await scene.s.clock.advance(600.0)
        assert "500" in await scene.look()
        scene.cloud.fault, scene.cloud.shelf = None, {MOUNT.id: Volume(MOUNT.id, HOME, 20.0, (PRIMARY, STANDBY))}
        assert (await scene.until_armed(), scene.cloud.destroyed) == (OURS, [])


async def test_a_provider_that_does_not_name_holders_has_standbys_all_the_same() -> None:
    async with arming() as scene:
        scene.cloud.shelf = {MOUNT.id: Volume(MOUNT.id, HOME, 20.0, ())}
        assert await scene.until_armed() == OURS


async def test_a_debt_knows_with_which_volume_it_rents() -> None:
    async with arming(None) as scene:
        bound = await scene.debt()
        offer = Offer(OfferId(1), HOME, LandlordId(1), "RTX 4090", 1, 0.4, 0.99, None)
        claim = Claim(Label("fo-x-m123-standby-1-1"), offer, BEGIN, Workload(), None, MOUNT)
        ahead = RentedAhead(scene.s.store, scene.cloud, Same(), scene.s.clock)  # type: ignore[arg-type]
        await ahead.rent(bound, MachineId(123), claim)
        assert await scene.debt() == replace(bound, label=claim.label, volume=MOUNT.id)


# -- what the provider takes away


@dataclass
class Shown:
    """A provider's list, and what it says of the one that is asked for."""

    rows: tuple[Instance, ...]
    complete: bool = True
    shows: Instance | StepError | None = None

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        return Listing({row.id: row for row in self.rows}, self.complete, BEGIN)

    async def show(self, number: InstanceId) -> Instance | None:
        if isinstance(self.shows, StepError):
            raise self.shows
        return self.shows


PRIMARY_ROW = instance(int(PRIMARY))


async def looked_at(s: Stage, provider: Shown, minutes: float) -> PreparedPools:
    cloud: Any = provider
    pools = PreparedPools(s.store, s.loop, cloud, s.clock, Announcer("test"))
    for _ in range(int(minutes * 2) + 1):
        await pools.look()
        await s.clock.advance(30.0)
    return pools


async def test_a_standby_that_is_in_no_list_for_minutes_is_replaced() -> None:
    """Seen by reading: the pool was degraded for ever, and nobody was told."""
    async with armed() as s:
        await looked_at(s, Shown((PRIMARY_ROW,)), 4.5)
        assert ((await s.stored()).standby, await owed(s)) == (OURS, [])
        await looked_at(s, Shown((PRIMARY_ROW,)), 5)
        assert (await s.stored()).standby is None
        assert await owed(s) == REPLACED


@pytest.mark.parametrize(
    "provider",
    [
        Shown((PRIMARY_ROW,), complete=False),
        Shown(()),
        Shown((PRIMARY_ROW,), shows=instance(int(STANDBY))),
        Shown((PRIMARY_ROW,), shows=Unknown("500")),
        Shown((PRIMARY_ROW, replace(instance(int(STANDBY)), status=Status.OFFLINE))),
    ],
    ids=["a part of a list", "an empty list", "shown when asked for", "no answer", "its host is offline"],
)
async def test_what_may_be_there_is_kept(provider: Shown) -> None:
    async with armed() as s:
        await looked_at(s, provider, 20)
        assert ((await s.stored()).standby, await owed(s)) == (OURS, [])


async def test_one_list_that_shows_it_begins_the_minutes_anew() -> None:
    async with armed() as s:
        provider = Shown((PRIMARY_ROW,))
        cloud: Any = provider
        pools = PreparedPools(s.store, s.loop, cloud, s.clock, Announcer("test"))
        for absent in [True] * 9 + [False] + [True] * 9:
            provider.rows = (PRIMARY_ROW,) if absent else (PRIMARY_ROW, instance(int(STANDBY)))
            await pools.look()
            await s.clock.advance(30.0)
        assert (await s.stored()).standby == OURS


async def test_a_machine_whose_strategy_uses_no_standby_gets_no_other_one() -> None:
    async with armed() as s:
        machine = await s.stored()
        s.loop.follow(await s.store.transact(lambda tx: tx.save_machine(replace(machine, setting=Setting.CPU_STANDBY))))
        await looked_at(s, Shown((PRIMARY_ROW,)), 5)
        assert await owed(s) == REPLACED[:1]
