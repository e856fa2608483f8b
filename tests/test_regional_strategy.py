"""The regional volume's decisions: when a copy may be taken, what is left behind, and where the work lies afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest

from machines.errors import NotYet, Refused
from machines.failover import AttemptEnded, BeginAttempt, Lost, Notify, Won
from machines.journal import Entry, Mark, as_output
from machines.model import (
    DebtKind,
    FenceGrade,
    FenceProof,
    HostId,
    Instance,
    InstanceId,
    Listing,
    Machine,
    Reason,
    Replica,
    Rung,
    Running,
    Setting,
    Standby,
    Status,
    Volume,
    VolumeId,
    VolumeMount,
    Wishes,
    Workload,
)
from machines.readiness import judge_regional
from machines.saga import StepContext, is_past_return
from machines.states import State
from machines.strategies.ladder import is_too_late, strategy_for, strategy_of
from machines.strategies.regional_volume import (
    REGIONAL_NAMED,
    REGIONAL_REPLICA,
    REGIONAL_VOLUME,
    await_release,
    find_place,
    find_replica,
)
from machines.strategies.wished import may_take_replica, workspace_under
from tests.test_candidates import Market, Written, context, offer
from tests.test_warm_pool import FAILOVER, HOST, NEW, OLD, PROOF, T0, instance, machine, owed, replacement, tell

ELSEWHERE = HostId(200)
COPY = Replica(VolumeId(990), ELSEWHERE, T0 - timedelta(hours=2))
MOUNT = VolumeMount(VolumeId(881), "/workspace", COPY)
DESTROYED = replace(PROOF, grade=FenceGrade.DESTROYED)


def running(**more: Any) -> Running:
    return replace(Running(FAILOVER, Reason.HEARTBEAT_LOST, (Rung.REGIONAL_VOLUME,), 0, T0, 1), **more)


def regional(**more: Any) -> Machine:
    one = machine(State.REGIONAL_VOLUME_ATTEMPT, setting=Setting.REGIONAL_VOLUME, standby=None, volume=MOUNT)
    return replace(one, **{"failover": running(), **more})


# -- once again with the copy


@pytest.mark.parametrize(
    ("failover", "takes"),
    [
        (running(), True),
        (running(reason=Reason.DRILL), False),
        (running(reason=Reason.HTTP, primary_was_alive=True), False),
        (running(reason=Reason.HTTP, primary_was_alive=True, proof=PROOF), False),
        (running(reason=Reason.HTTP, primary_was_alive=True, proof=DESTROYED), True),
        (running(primary_spoke=True), False),
        (running(repeats=1), True),
    ],
)
def test_a_copy_is_taken_only_where_nothing_newer_lives(failover: Running, takes: bool) -> None:
    assert may_take_replica(regional(), failover) is takes
    assert not may_take_replica(regional(volume=replace(MOUNT, replica=None)), failover)


def test_a_lost_attempt_is_followed_by_one_with_the_copy_under_the_same_fence_and_by_no_third() -> None:
    again, effects = tell(regional(), AttemptEnded(FAILOVER, 1, Lost("host_offline", "the host is away")))
    assert again.failover is not None
    assert (again.failover.attempt, again.failover.repeats, again.state) == (2, 1, State.REGIONAL_VOLUME_ATTEMPT)
    assert isinstance(effects[0], BeginAttempt)
    assert strategy_for(Rung.REGIONAL_VOLUME, regional()) is REGIONAL_VOLUME
    assert strategy_for(Rung.REGIONAL_VOLUME, again) is REGIONAL_REPLICA
    failed, _ = tell(again, AttemptEnded(FAILOVER, 1, Lost("boot_timeout", "none came up")))
    assert (failed.state, failed.failover) == (State.FAILED, None)


def test_without_a_copy_the_first_code_is_the_last() -> None:
    one = regional(volume=replace(MOUNT, replica=None))
    failed, _ = tell(one, AttemptEnded(FAILOVER, 1, Lost("host_offline", "the host is away")))
    assert (failed.state, failed.because) == (State.FAILED, "host_offline: the host is away")


def test_a_cancel_is_no_reason_to_take_the_copy() -> None:
    one = replace(regional(), failover=running(cancel_asked=True))
    ended, _ = tell(one, AttemptEnded(FAILOVER, 1, Lost("cancelled", "an operator cancelled it")))
    assert ended.failover is None


def test_a_volume_that_was_named_for_a_machine_without_one_takes_a_form_of_its_own() -> None:
    named = running(wishes=Wishes(volume=MOUNT))
    assert strategy_for(Rung.REGIONAL_VOLUME, regional(volume=None, failover=named)) is REGIONAL_NAMED
    assert strategy_for(Rung.REGIONAL_VOLUME, regional(failover=named)) is REGIONAL_VOLUME
    again = replace(named, repeats=1)
    assert strategy_for(Rung.REGIONAL_VOLUME, regional(volume=None, failover=again)) is REGIONAL_REPLICA


# -- what is left behind


def test_after_the_copy_took_over_a_dead_hosts_volume_is_given_up_and_nothing_is_a_copy_yet() -> None:
    mount = VolumeMount(COPY.id, "/workspace")
    new = replace(replacement(NEW, has_volume=False), volume=mount)
    one = regional(failover=running(proof=replace(PROOF, grade=FenceGrade.SEVERED)))
    won, effects = tell(one, AttemptEnded(FAILOVER, 1, Won(new)))
    assert (won.primary, won.volume) == (NEW, mount)
    assert owed(effects) == [(DebtKind.DESTROY_INSTANCE, OLD), (DebtKind.DELETE_VOLUME, MOUNT.id)]
    assert [effect.key for effect in effects if isinstance(effect, Notify)] == ["machine-1"]


@pytest.mark.parametrize("proof", [None, PROOF, DESTROYED])
def test_a_volume_that_is_newer_than_the_copy_is_kept_and_told_where_its_host_may_live(
    proof: FenceProof | None,
) -> None:
    new = replace(replacement(NEW, has_volume=False), volume=VolumeMount(COPY.id, "/workspace"))
    won, effects = tell(regional(failover=running(proof=proof)), AttemptEnded(FAILOVER, 1, Won(new)))
    assert won.volume == new.volume
    assert owed(effects) == [(DebtKind.DESTROY_INSTANCE, OLD)]
    (told,) = [effect for effect in effects if isinstance(effect, Notify) and not effect.resolves]
    assert told.key == "volume-881-kept"
    assert "volume 881" in told.text
    assert "regional-volume/list" in told.text


def test_a_named_volume_whose_copy_was_taken_is_kept_whatever_became_of_the_old_instance() -> None:
    severed = replace(PROOF, grade=FenceGrade.SEVERED)
    one = regional(volume=None, failover=running(proof=severed, wishes=Wishes(volume=MOUNT)))
    new = replace(replacement(NEW, has_volume=False), volume=VolumeMount(COPY.id, "/workspace"))
    _, effects = tell(one, AttemptEnded(FAILOVER, 1, Won(new)))
    assert owed(effects) == [(DebtKind.DESTROY_INSTANCE, OLD)]
    assert "volume-881-kept" in [effect.key for effect in effects if isinstance(effect, Notify)]


def test_on_its_own_host_the_volume_and_its_copy_stay() -> None:
    moved = replace(MOUNT, path="/data")
    new = replace(replacement(NEW, has_volume=True), volume=moved, workspace_path="/data")
    won, effects = tell(regional(), AttemptEnded(FAILOVER, 1, Won(new)))
    assert (won.volume, won.workspace_path) == (moved, "/data")
    assert [kind for kind, _ in owed(effects)] == [DebtKind.DESTROY_INSTANCE, DebtKind.REARM]


def test_a_machine_that_leaves_its_volume_leaves_the_copy_too() -> None:
    for proof, kept in ((replace(PROOF, grade=FenceGrade.SEVERED), []), (PROOF, [MOUNT.id])):
        failover = running(ladder=(Rung.CPU_STANDBY,), proof=proof)
        one = replace(regional(), state=State.CPU_STANDBY_ATTEMPT, failover=failover)
        won, effects = tell(one, AttemptEnded(FAILOVER, 1, Won(replacement(NEW, has_volume=False))))
        assert won.volume is None
        assert [number for kind, number in owed(effects) if kind is DebtKind.KEEP_VOLUME] == kept
        given_up = [number for kind, number in owed(effects) if kind is DebtKind.DELETE_VOLUME]
        assert given_up == [number for number in (MOUNT.id, COPY.id) if number not in kept]


@pytest.mark.parametrize(
    ("workspace", "old", "new", "found"),
    [
        ("/workspace", "/workspace", "/workspace", "/workspace"),
        ("/workspace/a", "/workspace", "/data", "/data/a"),
        ("/workspace", "/workspace/", "/data/", "/data"),
        ("/workspace", "/", "/data", "/data/workspace"),
        ("/home/me", "/workspace", "/data", "/data"),
        ("/workspacex", "/workspace", "/data", "/data"),
        ("/workspace", None, "/data", "/data"),
        ("/workspace/a", None, "/workspace", "/workspace/a"),
    ],
)
def test_the_work_keeps_its_place_on_the_volume(workspace: str, old: str | None, new: str, found: str) -> None:
    volume = VolumeMount(VolumeId(1), old) if old is not None else None
    one = regional(volume=volume, workspace_path=workspace)
    assert workspace_under(one, VolumeMount(VolumeId(1), new)) == found


# -- the two forms in the journal


def test_each_form_is_known_again_by_its_steps() -> None:
    assert strategy_of(Rung.REGIONAL_VOLUME, {"find_place"}) is REGIONAL_VOLUME
    assert strategy_of(Rung.REGIONAL_VOLUME, {"find_volume"}) is REGIONAL_NAMED
    assert strategy_of(Rung.REGIONAL_VOLUME, {"find_replica", "fence_primary"}) is REGIONAL_REPLICA
    begun = [Entry(step, Mark.STARTED, T0) for step in ("find_place", "fence_primary")]
    assert is_past_return(REGIONAL_VOLUME, begun)
    again = [(2, Entry(step, Mark.STARTED, T0)) for step in ("find_replica", "fence_primary")]
    assert is_too_late(None, [*((1, entry) for entry in begun), *again])
    assert not is_too_late(None, again)


# -- finding a place


@dataclass
class Provider(Market):
    rows: tuple[Instance, ...] = ()

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        return Listing({row.id: row for row in self.rows}, True, T0)


@dataclass
class Shelf:
    shown: dict[VolumeId, Volume] = field(default_factory=dict)

    async def volumes(self, max_age_s: float = 0.0) -> dict[VolumeId, Volume]:
        return self.shown


def shelf(*holders: InstanceId) -> Shelf:
    rows = (Volume(MOUNT.id, HOST, 20.0, holders or (OLD,)), Volume(COPY.id, ELSEWHERE, 20.0, ()))
    return Shelf({row.id: row for row in rows})


def at(
    one: Machine, offers: tuple[Any, ...], held: Shelf, rows: tuple[Instance, ...] = (), looks: int = 3, **more: Any
) -> StepContext:
    """Asked so many times before, in vain."""
    assert one.failover is not None
    step = "find_replica" if one.failover.repeats else "find_place"
    waits = [Entry(step, Mark.WAITING, T0, until=T0) for _ in range(looks)]
    volumes: Any = held
    ctx = context(Provider(offers, rows=rows), Written(waits))
    return replace(ctx, machine=one, failover=replace(one.failover, **more), volumes=volumes)


RUNS = instance(OLD, holds_gpu=True, status=Status.EXITED)


async def test_a_place_is_a_gpu_on_the_volumes_own_host() -> None:
    found = await find_place(at(regional(), (offer(1, 200), offer(2, int(HOST))), shelf(), (RUNS,)))
    assert (found.volume, found.host, found.gpu_name) == (MOUNT.id, HOST, "RTX 4090")


async def test_a_full_host_is_looked_at_again_before_it_is_given_up() -> None:
    with pytest.raises(NotYet):
        await find_place(at(regional(), (), shelf(), looks=0))
    with pytest.raises(Refused) as no:
        await find_place(at(regional(), (), shelf()))
    assert no.value.code == "no_offer_matches"


async def test_a_dead_machine_that_has_no_other_way_is_looked_for_longer() -> None:
    alone = regional(volume=replace(MOUNT, replica=None))
    with_copy = replace(regional(), failover=running(repeats=1))
    for find, one in ((find_place, alone), (find_replica, with_copy)):
        with pytest.raises(NotYet):
            await find(at(one, (), shelf()))
        with pytest.raises(Refused):
            await find(at(one, (), shelf(), looks=30))
    with pytest.raises(Refused):
        await find_place(at(alone, (), shelf(), reason=Reason.HTTP, primary_was_alive=True))


async def test_a_dead_primarys_own_gpu_is_a_place_and_a_living_ones_is_not() -> None:
    found = await find_place(at(regional(), (), shelf(), (RUNS,)))
    assert found.gpu_name == RUNS.gpu_name
    for rows, more in (
        ((RUNS,), {"primary_was_alive": True}),
        ((replace(RUNS, holds_gpu=False),), {}),
        ((RUNS,), {"wishes": Wishes(gpu_names=("H100 SXM",))}),
    ):
        with pytest.raises(Refused, match="to rent with the volume"):
            await find_place(at(regional(), (), shelf(), rows, **more))


async def test_gpus_are_taken_in_the_order_of_preference() -> None:
    offers = tuple(replace(offer(number, int(HOST)), gpu_name=name) for number, name in ((1, "A100"), (2, "L40S")))

    @dataclass
    class Picky(Provider):
        async def search(self, query: Any, host: Any = None) -> tuple[Any, ...]:
            return tuple(one for one in self.offers if one.gpu_name == query.gpu_name)

    ctx = at(regional(workload=Workload(gpu_name="RTX 4090")), (), shelf(), wishes=Wishes(gpu_names=("L40S", "A100")))
    cloud: Any = Picky(offers)
    assert (await find_place(replace(ctx, cloud=cloud))).gpu_name == "L40S"


async def test_what_stands_in_the_way_of_a_place_is_told_with_its_code() -> None:
    there = (offer(2, int(HOST)),)
    for ctx, code in (
        (at(regional(), there, shelf(), (replace(RUNS, status=Status.OFFLINE),)), "host_offline"),
        (at(regional(), there, shelf(OLD, NEW), (RUNS,)), "no_offer_matches"),
        (at(regional(volume=None), there, shelf(), (RUNS,)), "no_offer_matches"),
        (at(regional(), there, shelf(), (RUNS,), reason=Reason.DRILL), "no_offer_matches"),
    ):
        with pytest.raises(Refused) as no:
            await find_place(ctx)
        assert no.value.code == code


async def test_the_machines_own_standby_is_no_stranger_on_its_volume() -> None:
    """Seen: a forced failover of a machine with a standby was always refused."""
    one = regional(setting=Setting.BOTH, standby=Standby(NEW, HOST))
    ctx = at(one, (offer(2, int(HOST)),), shelf(OLD, NEW), (RUNS,))
    found = await find_place(ctx)
    assert (found.volume, found.host) == (MOUNT.id, HOST)
    done = Entry("find_place", Mark.DONE, T0, output=as_output(found))
    released = replace(ctx, entries=(done,), volumes=cast(Any, shelf(NEW)))
    assert (await await_release(released)).volume == MOUNT.id
    with pytest.raises(NotYet, match=f"\\[{OLD}\\] still hold"):
        await await_release(replace(released, volumes=cast(Any, shelf(OLD, NEW))))


async def test_a_volume_that_a_list_lacks_is_not_given_up_by_that() -> None:
    for find, one in ((find_place, regional()), (find_replica, replace(regional(), failover=running(repeats=1)))):
        with pytest.raises(NotYet, match="does not list volume"):
            await find(at(one, (offer(2, int(HOST)),), Shelf(), (RUNS,)))


async def test_the_copy_is_found_with_the_time_at_which_it_was_made() -> None:
    one = replace(regional(), failover=running(repeats=1))
    found = await find_replica(at(one, (offer(1, 200),), shelf()))
    assert (found.volume, found.host, found.copied_at) == (COPY.id, ELSEWHERE, COPY.copied_at)


# -- readiness


@pytest.mark.parametrize(
    ("free", "volumes", "fault"),
    [
        ({HOST: True}, shelf().shown, None),
        ({ELSEWHERE: True}, shelf().shown, None),
        ({HOST: False, ELSEWHERE: False}, shelf().shown, "offers no GPU"),
        ({}, shelf().shown, "offers no GPU"),
        ({HOST: True, ELSEWHERE: True}, {}, "is in no list; its copy is in no list"),
    ],
)
def test_one_way_to_go_on_is_enough(
    free: dict[HostId, bool], volumes: dict[VolumeId, Volume], fault: str | None
) -> None:
    found, has_copy = judge_regional(regional(), volumes, free)
    assert (found is None) is (fault is None)
    assert fault is None or fault in (found or "")
    assert has_copy is bool(volumes)
