"""The warm pool without a standby: what stands between the old instance's end and the rental that gets its volume."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from machines.errors import NotYet, Refused
from machines.journal import Entry, Mark
from machines.model import FenceGrade, Instance, InstanceId, Listing, Volume
from machines.saga import StepContext
from machines.strategies.warm_pool import CHECK_PLACE, WARM_POOL_ALONE, await_release, check_place
from tests.test_api_stage import BEGIN
from tests.test_candidates import Market, SteppedClock, Written, context, offer
from tests.test_regional_strategy import Shelf
from tests.test_warm_pool import HOST, OLD, PROOF, VOLUME, instance, machine, running

ARMING = InstanceId(7060)
"""A rental for a new standby that is not the machine's yet."""


@dataclass
class Provider(Market):
    """A host with room, and what is rented."""

    rows: tuple[Instance, ...] = ()

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        return Listing({row.id: row for row in self.rows}, True, BEGIN)


def held_by(*holders: InstanceId) -> Shelf:
    return Shelf({VOLUME.id: Volume(VOLUME.id, HOST, 20.0, holders)})


def at(held: Shelf, clock: SteppedClock | None = None, *waited: Entry) -> StepContext:
    one = machine(standby=None, failover=running(proof=replace(PROOF, grade=FenceGrade.DESTROYED)))
    assert one.failover is not None
    volumes: Any = held
    provider = Provider((offer(2, int(HOST)),), rows=(instance(OLD),))
    ctx = context(provider, Written([*waited]), clock or SteppedClock())
    return replace(ctx, machine=one, failover=one.failover, volumes=volumes)


def waits(step: str, why: str, times: int = 1) -> list[Entry]:
    return [Entry(step, Mark.WAITING, BEGIN, why=why, until=BEGIN) for _ in range(times)]


async def waited_for(step: Any, held: Shelf) -> str:
    with pytest.raises(NotYet) as later:
        await step(at(held))
    return later.value.why


async def test_a_place_is_one_whose_volume_nobody_has_but_the_old_instance() -> None:
    assert (await check_place(at(held_by(OLD)))).volume == VOLUME.id
    assert (await check_place(at(held_by()))).volume == VOLUME.id


async def test_who_else_has_the_volume_has_time_to_let_go_of_it_and_then_nothing_is_destroyed_for_it() -> None:
    """Seen by reading: a second death while a standby was being armed destroyed the primary, and its rental kept the volume."""
    clock = SteppedClock()
    why = await waited_for(check_place, held_by(OLD, ARMING))
    assert str(ARMING) in why
    waited = waits(CHECK_PLACE.name, why)
    await clock.advance(30)
    assert (await check_place(at(held_by(OLD), clock, *waited))).volume == VOLUME.id
    with pytest.raises(NotYet):
        await check_place(at(held_by(OLD, ARMING), clock, *waited))
    await clock.advance(15)
    with pytest.raises(Refused, match=f"{ARMING}.*beside the primary") as no:
        await check_place(at(held_by(OLD, ARMING), clock, *waited))
    assert no.value.code == "warm_pool_not_ready"
    assert CHECK_PLACE.waits * timedelta(seconds=4) > timedelta(seconds=45), "its own bound comes later"
    assert WARM_POOL_ALONE.steps[0] is CHECK_PLACE


async def test_after_the_old_instances_end_no_list_gives_its_volume_up() -> None:
    """Seen by reading: one list without the volume, after the primary was destroyed, and the newest data was given up."""
    why = await waited_for(await_release, Shelf())
    assert (await await_release(at(held_by(), None, *waits("await_release", why)))).volume == VOLUME.id
    released = await await_release(at(Shelf(), None, *waits("await_release", why, times=2)))
    assert released.volume == VOLUME.id, "whether it is there is the rental's to find out"


async def test_the_volume_is_waited_for_as_long_as_anything_has_it() -> None:
    why = await waited_for(await_release, held_by(ARMING))
    assert "still hold volume" in why
