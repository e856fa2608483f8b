"""The warm pool's decisions: what it owes afterwards, when it is ready, and what a return of the old instance means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from machines.errors import NotYet, Refused
from machines.failover import (
    AttemptEnded,
    BeginAttempt,
    CancelAsked,
    EndFailover,
    Heard,
    Lost,
    Notify,
    Won,
    decide,
)
from machines.journal import Entry, Mark
from machines.model import (
    DebtKind,
    Endpoint,
    FailoverId,
    FenceGrade,
    FenceProof,
    HostId,
    Instance,
    InstanceId,
    LandlordId,
    Listing,
    Machine,
    MachineId,
    Mode,
    Prepared,
    Reason,
    Replacement,
    Rung,
    Running,
    Setting,
    Standby,
    Status,
    Volume,
    VolumeId,
    VolumeMount,
    WarmPool,
)
from machines.policy import Policy
from machines.ports import ShellResult
from machines.readiness import judge_warm_pool
from machines.saga import Abandoned, Run, Undo, is_past_return, next_move
from machines.states import State
from machines.strategies.ladder import is_too_late, strategy_for, strategy_of
from machines.strategies.warm_pool import FENCE_BY_DESTROYING, WARM_POOL, WARM_POOL_ALONE, await_running, check_standby
from machines.volumes import KEPT_FOR, mount_fault
from tests.test_api_stage import BEGIN
from tests.test_candidates import Market, Written, context

T0 = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OLD, STANDBY, NEW = InstanceId(7001), InstanceId(7002), InstanceId(7050)
HOST = HostId(100)
VOLUME = VolumeMount(VolumeId(881), "/workspace")
FAILOVER = FailoverId("fo_1")
PROOF = FenceProof(FenceGrade.STOPPED, "read back", T0)


def running(rung: Rung = Rung.WARM_POOL, **more: object) -> Running:
    ladder = (Rung.WARM_POOL, Rung.CPU_STANDBY)
    return replace(
        Running(FAILOVER, Reason.HEARTBEAT_LOST, ladder, ladder.index(rung), T0, 1),
        **more,  # type: ignore[arg-type]
    )


def machine(state: State = State.WARM_POOL_ATTEMPT, **more: object) -> Machine:
    one = Machine(
        MachineId(1),
        "alpha",
        state=state,
        setting=Setting.BOTH,
        mode=Mode.ON,
        fence=1,
        primary=OLD,
        host=HOST,
        volume=VOLUME,
        standby=Standby(STANDBY, HOST),
        failover=running(),
    )
    return replace(one, **more)  # type: ignore[arg-type]


def replacement(instance: InstanceId, has_volume: bool) -> Replacement:
    return Replacement(
        instance,
        None,
        HOST,
        LandlordId(1),
        Endpoint("127.0.0.1", 22),
        None,
        "RTX 4090",
        0.4,
        "b2",
        0.0,
        has_volume=has_volume,
    )


def ended(effects: tuple[object, ...]) -> EndFailover:
    return next(effect for effect in effects if isinstance(effect, EndFailover))


def owed(effects: tuple[object, ...]) -> list[tuple[DebtKind, int | None]]:
    return [(debt.kind, debt.instance or debt.volume) for debt in ended(effects).debts]


def tell(one: Machine, signal: object):
    decision = decide(one, signal, T0, Policy())  # type: ignore[arg-type]
    return decision.machine, decision.effects


# -- what is owed after the hand-over


def test_after_a_warm_pool_the_old_instance_goes_and_a_new_standby_is_owed():
    won, effects = tell(machine(), AttemptEnded(FAILOVER, 1, Won(replacement(STANDBY, has_volume=True))))
    assert (won.state, won.primary, won.volume, won.standby) == (State.RECOVERED, STANDBY, VOLUME, None)
    assert owed(effects) == [(DebtKind.DESTROY_INSTANCE, OLD), (DebtKind.REARM, None)]


def moved(**more: Any) -> tuple[Machine, tuple[object, ...]]:
    """By a cpu_standby, to another host."""
    pool = more.pop("pool", None)
    one = machine(State.CPU_STANDBY_ATTEMPT, failover=running(Rung.CPU_STANDBY, **more), warm_pool=pool)
    new = replacement(NEW, has_volume=False)
    return tell(one, AttemptEnded(FAILOVER, 1, Won(new if pool is None else replace(new, volume=pool.prepared.volume))))


def test_after_a_cpu_standby_a_host_that_is_offline_is_left_for_good_with_standby_and_volume():
    won, effects = moved(proof=replace(PROOF, grade=FenceGrade.SEVERED))
    assert (won.primary, won.volume, won.standby) == (NEW, None, None)
    assert owed(effects) == [
        (DebtKind.DESTROY_INSTANCE, OLD),
        (DebtKind.DESTROY_INSTANCE, STANDBY),
        (DebtKind.DELETE_VOLUME, VOLUME.id),
    ]


PREPARED = Prepared(VolumeMount(VolumeId(990), "/workspace"), HostId(200), Standby(NEW, HostId(200)), 0.4)


@pytest.mark.parametrize("pool", [None, WarmPool(prepared=PREPARED)])
@pytest.mark.parametrize(
    "more",
    [
        {"proof": PROOF},
        {"proof": replace(PROOF, grade=FenceGrade.DESTROYED)},
        {"proof": PROOF, "primary_was_alive": True, "reason": Reason.DRILL},
        {},
    ],
)
def test_a_volume_that_is_newer_than_the_snapshot_is_kept_for_its_time_and_told_where_its_host_may_live(more, pool):
    """Seen by reading: a drill of a living primary deleted everything that was written since the snapshot."""
    won, effects = moved(pool=pool, **more)
    assert (won.primary, won.volume) == (NEW, None if pool is None else PREPARED.volume)
    volumes = [one for one in owed(effects) if one[0] in (DebtKind.DELETE_VOLUME, DebtKind.KEEP_VOLUME)]
    assert volumes == [(DebtKind.KEEP_VOLUME, VOLUME.id)]
    assert (DebtKind.DESTROY_INSTANCE, STANDBY) in owed(effects), "it stands by for nobody any more"
    (kept,) = [debt for debt in ended(effects).debts if debt.kind is DebtKind.KEEP_VOLUME]
    assert kept.due_at == T0 + KEPT_FOR
    (told,) = [effect for effect in effects if isinstance(effect, Notify) and not effect.resolves]
    assert (told.key, "2026-12-01 12:00 UTC" in told.text) == ("volume-881-kept", True)


def test_a_lost_warm_pool_goes_on_to_the_cpu_standby_with_the_same_fence():
    one = machine(failover=running(proof=PROOF))
    onward, effects = tell(one, AttemptEnded(FAILOVER, 1, Lost("standby_gpu_taken", "another tenant has it")))
    assert onward.state is State.CPU_STANDBY_ATTEMPT
    assert onward.failover is not None
    assert (onward.failover.rung, onward.failover.proof, onward.fence) == (Rung.CPU_STANDBY, PROOF, 1)
    assert isinstance(effects[0], BeginAttempt)
    assert onward.standby == one.standby, "it was undone, so it still stands by"


def test_a_standby_that_does_not_verify_is_not_tried_again():
    onward, _ = tell(machine(), AttemptEnded(FAILOVER, 1, Lost("verify_failed", "no GPU")))
    assert onward.failover is not None
    assert onward.failover.rung is Rung.CPU_STANDBY


# -- the old instance speaks again (facts/scenarios.md, S3)


def beat(is_live: bool = True) -> Heard:
    return Heard(OLD, "b1", 10.0, 0, is_live)


@pytest.mark.parametrize(
    ("state", "rung"),
    [(State.WARM_POOL_ATTEMPT, Rung.WARM_POOL), (State.CPU_STANDBY_ATTEMPT, Rung.CPU_STANDBY)],
)
def test_a_return_before_the_hand_over_cancels_the_failover(state: State, rung: Rung):
    back, _ = tell(machine(state, failover=running(rung)), beat())
    assert back.failover is not None
    assert (back.failover.cancel_asked, back.failover.primary_spoke, back.state) == (True, True, state)
    kept, effects = tell(back, AttemptEnded(FAILOVER, 1, Lost("cancelled", "the old instance speaks again")))
    assert (kept.state, kept.primary, kept.failover) == (State.HEALTHY, OLD, None)
    assert owed(effects) == [(DebtKind.START_INSTANCE, OLD)], "our stop may be on its way; a start changes nothing else"


def test_a_return_after_the_fence_is_started_again_and_watched():
    back, _ = tell(machine(failover=running(proof=PROOF)), beat())
    cancelled, effects = tell(back, AttemptEnded(FAILOVER, 1, Lost("cancelled", "the old instance speaks again")))
    assert (cancelled.state, cancelled.primary) == (State.DETECTING, OLD)
    assert owed(effects) == [(DebtKind.START_INSTANCE, OLD)]


def test_a_cancel_while_our_stop_is_under_way_starts_the_living_primary_again():
    """Seen: cancelled between the stop and its proof, the machine was called healthy and stayed stopped."""
    one = machine(failover=running(reason=Reason.HTTP, primary_was_alive=True, cancel_asked=True))
    kept, effects = tell(one, AttemptEnded(FAILOVER, 1, Lost("cancelled", "an operator cancelled it")))
    assert kept.state is State.HEALTHY
    assert owed(effects) == [(DebtKind.START_INSTANCE, OLD)]


def test_an_old_instance_that_was_destroyed_is_not_started():
    gone = running(proof=replace(PROOF, grade=FenceGrade.DESTROYED), primary_spoke=True, cancel_asked=True)
    _, effects = tell(machine(failover=gone), AttemptEnded(FAILOVER, 1, Lost("cancelled", "")))
    assert owed(effects) == []


def test_a_beat_that_is_read_back_from_the_history_is_no_return():
    same, effects = tell(machine(), beat(is_live=False))
    assert same.failover == machine().failover
    assert effects == ()


@pytest.mark.parametrize("state", [State.DETECTING, State.FAILED, State.RECOVERED])
def test_history_makes_nobody_healthy(state: State):
    same, _ = tell(machine(state, failover=None), beat(is_live=False))
    assert same.state is state


@pytest.mark.parametrize("reason", [Reason.HTTP, Reason.COMMAND, Reason.DRILL, Reason.NOTICE])
def test_a_failover_that_somebody_asked_for_goes_on_although_the_old_instance_beats(reason: Reason):
    one = machine(failover=running(reason=reason))
    assert tell(one, beat())[0].failover == one.failover


def test_after_the_hand_over_the_old_instance_is_a_stranger():
    one = machine(State.RECOVERED, primary=STANDBY, failover=None)
    assert tell(one, beat())[0] == one


# -- the two forms


def test_the_form_follows_from_what_the_machine_has():
    assert strategy_for(Rung.WARM_POOL, machine()) is WARM_POOL
    assert strategy_for(Rung.WARM_POOL, machine(standby=None)) is WARM_POOL_ALONE
    assert strategy_for(Rung.WARM_POOL, machine(standby=None, volume=None)) is WARM_POOL
    assert strategy_of(Rung.WARM_POOL, {"check_place"}) is WARM_POOL_ALONE
    assert strategy_of(Rung.WARM_POOL, set()) is WARM_POOL


def test_a_cancel_after_the_destroying_fence_is_too_late_and_before_it_unwinds():
    before = [Entry("check_place", Mark.STARTED, T0), Entry("check_place", Mark.DONE, T0)]
    assert not is_past_return(WARM_POOL_ALONE, before)
    assert isinstance(next_move(WARM_POOL_ALONE, before, T0, "an operator cancelled it"), Abandoned)
    begun = [*before, Entry("fence_primary", Mark.STARTED, T0)]
    assert is_past_return(WARM_POOL_ALONE, begun)
    assert next_move(WARM_POOL_ALONE, begun, T0, "an operator cancelled it") == Run(FENCE_BY_DESTROYING)


def test_behind_the_destroying_fence_it_is_too_late_in_every_later_attempt_too():
    """Seen by reading: cancelled on the next rung, the machine would have had no instance at all."""
    began = [(1, Entry(step, Mark.STARTED, T0)) for step in ("check_place", "fence_primary")]
    later = [(2, Entry(step, Mark.STARTED, T0)) for step in ("choose_snapshot", "fence_primary", "rent_candidate")]
    assert is_too_late(None, [*began, *later])
    assert not is_too_late(None, [*began[:1], *later])
    other = [(1, Entry(step, Mark.STARTED, T0)) for step in ("check_standby", "fence_primary", "start_standby")]
    assert not is_too_late(None, [*other, *later])
    assert not is_too_late(None, [])


@pytest.mark.parametrize("reached", range(1, len(WARM_POOL.steps)))
def test_a_cancel_at_every_step_gives_the_standby_back_if_it_was_started(reached: int):
    entries = [Entry(step.name, mark, T0) for step in WARM_POOL.steps[:reached] for mark in (Mark.STARTED, Mark.DONE)]
    move = next_move(WARM_POOL, entries, T0, "an operator cancelled it")
    was_started = "start_standby" in {step.name for step in WARM_POOL.steps[:reached]}
    if was_started:
        assert isinstance(move, Undo)
        assert move.step.name == "start_standby"
    else:
        assert move == Abandoned("cancelled", "an operator cancelled it")


def test_a_cancel_is_remembered_by_the_machine():
    asked, _ = tell(machine(), CancelAsked(FAILOVER))
    assert asked.failover is not None
    assert asked.failover.cancel_asked


# -- readiness


def instance(number: InstanceId, **more: object) -> Instance:
    row = Instance(
        number,
        None,
        Status.EXITED,
        False,
        False,
        HOST,
        LandlordId(1),
        None,
        "RTX 4090",
        1,
        False,
        0.4,
        "",
    )
    return replace(row, **more)  # type: ignore[arg-type]


def verdict(
    one: Machine, rows: tuple[Instance, ...], has_free_gpu: bool | None = True, host: HostId = HOST
) -> str | None:
    listing = Listing({row.id: row for row in rows}, True, T0)
    return judge_warm_pool(one, listing, {VOLUME.id: Volume(VOLUME.id, host, 20.0, (OLD, STANDBY))}, has_free_gpu)


def test_a_standby_that_stands_by_is_ready():
    assert verdict(machine(), (instance(STANDBY),)) is None
    assert verdict(machine(), (instance(STANDBY, status=Status.RUNNING, holds_gpu=True),), has_free_gpu=False) is None


@pytest.mark.parametrize(
    ("one", "rows", "free", "host", "why"),
    [
        (machine(volume=None), (instance(STANDBY),), True, HOST, "no standby is provisioned"),
        (machine(), (), True, HOST, "in no listing"),
        (machine(), (instance(STANDBY, host=HostId(9)),), True, HOST, "is on host 9"),
        (machine(), (instance(STANDBY, status=Status.OFFLINE),), True, HOST, "reads offline"),
        (machine(), (instance(STANDBY),), False, HOST, "another tenant has the GPU"),
        (machine(), (instance(STANDBY),), True, HostId(9), "volume 881 is on host 9"),
        (machine(standby=None), (), False, HOST, "no free GPU"),
        (machine(standby=None), (), None, HOST, "no free GPU"),
    ],
)
def test_a_warm_pool_that_could_not_take_over_says_why(one, rows, free, host, why):
    said = verdict(one, rows, free, host)
    assert said is not None
    assert why in said


FORMER = VolumeId(880)


@dataclass
class Volumes:
    """A provider's list of volumes, and how old each reader allowed it to be."""

    shown: dict[VolumeId, Volume]
    asked: list[float]

    async def volumes(self, max_age_s: float = 0.0) -> dict[VolumeId, Volume]:
        self.asked.append(max_age_s)
        return self.shown


def holding(**holders: tuple[InstanceId, ...]) -> dict[VolumeId, Volume]:
    ids = {"present": VOLUME.id, "former": FORMER}
    return {ids[name]: Volume(ids[name], HOST, 20.0, shown) for name, shown in holders.items()}


MOUNTS = [
    pytest.param({"present": (OLD, STANDBY)}, True, None, id="mounted"),
    pytest.param({"present": (OLD,), "former": (STANDBY,)}, False, "has volume 880 mounted", id="another's"),
    pytest.param({"present": (), "former": (STANDBY,)}, False, "has volume 880 mounted", id="another's alone"),
    pytest.param({"present": (OLD,)}, True, "does not have volume 881", id="it runs without"),
    pytest.param({"present": (OLD,)}, False, "does not have volume 881", id="stopped ones are named, but not it"),
    pytest.param({"present": ()}, True, None, id="no holders are told"),
    pytest.param({}, True, None, id="the volume is not listed"),
]


@pytest.mark.parametrize(("holders", "runs", "why"), MOUNTS)
def test_a_standby_without_the_machines_volume_is_none(holders: Any, runs: bool, why: str | None) -> None:
    """Seen by reading: the marker bears the machine's number on each of its volumes, so old work was served as new."""
    row = instance(STANDBY, status=Status.RUNNING if runs else Status.EXITED)
    said = mount_fault(VOLUME.id, row, holding(**holders), Listing({OLD: instance(OLD), STANDBY: row}, True, T0))
    assert said == why if why is None else why in (said or "")


def test_a_list_that_names_running_holders_alone_says_nothing_of_a_stopped_standby() -> None:
    """Whether stopped ones are named nobody knows for certain (facts/vast-api.md, section 6)."""
    runs = Listing({OLD: instance(OLD, status=Status.RUNNING), STANDBY: instance(STANDBY)}, True, T0)
    assert mount_fault(VOLUME.id, instance(STANDBY), holding(present=(OLD,)), runs) is None


def test_a_standby_of_another_volume_is_not_ready() -> None:
    listing = Listing({OLD: instance(OLD), STANDBY: instance(STANDBY)}, True, T0)
    said = judge_warm_pool(machine(), listing, holding(present=(OLD,), former=(STANDBY,)), has_free_gpu=True)
    assert said == "instance 7002 has volume 880 mounted, and not volume 881"


async def test_a_standby_of_another_volume_is_refused_before_anything_is_touched_but_not_by_one_list() -> None:
    shelf, written = Volumes(holding(present=(OLD,), former=(STANDBY,)), []), Written()
    ctx = replace(
        context(Market(()), written),
        machine=machine(),
        cloud=Shown(instance(STANDBY)),  # type: ignore[arg-type]
        volumes=shelf,  # type: ignore[arg-type]
    )
    for _ in range(2):
        with pytest.raises(NotYet, match="it seems that instance 7002 has volume 880") as doubt:
            await check_standby(ctx)
        ctx = replace(ctx, entries=(*ctx.entries, Entry("check_standby", Mark.WAITING, T0, why=doubt.value.why)))
    assert shelf.asked == [10.0, 10.0, 1.0, 1.0], "what was doubted is looked for in a new list"
    with pytest.raises(Refused, match="has volume 880 mounted, and not volume 881") as refused:
        await check_standby(ctx)
    assert refused.value.code == "warm_pool_not_ready"
    shelf.shown = holding(present=(OLD, STANDBY))
    assert (await check_standby(ctx)).standby == STANDBY


def test_without_a_standby_a_free_gpu_on_the_host_is_enough():
    assert verdict(machine(standby=None), (), has_free_gpu=True) is None


def test_the_expected_wait_is_bounded():
    """A host that neither stops its instance nor is called offline is given up within 90 s."""
    fence = WARM_POOL.steps[1]
    assert fence.late == "host_offline"
    assert fence.waits * timedelta(seconds=1) <= timedelta(seconds=90)


# -- while the daemon was away


@dataclass
class Shown:
    """A provider that shows one standby."""

    row: Instance

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        return Listing({self.row.id: self.row}, True, T0)


class Answering:
    async def run(self, *_: object, **__: object) -> ShellResult:
        return ShellResult(0, "GPU 0: RTX 4090", "", "key")


@pytest.mark.parametrize("runs", [True, False])
async def test_a_standby_is_given_up_by_what_is_seen_now_and_not_by_the_clock_alone(runs: bool) -> None:
    """Seen: a daemon was away for the time of a boot, and gave up a standby that had come up meanwhile."""
    up = {"status": Status.RUNNING, "wants_running": True, "ssh": Endpoint("127.0.0.1", 22)}
    cloud: Any = Shown(instance(STANDBY, **(up if runs else {})))
    long_ago = BEGIN - timedelta(minutes=10)
    waited = Entry("await_running", Mark.WAITING, long_ago, why="the standby reads exited", until=long_ago)
    ctx = replace(
        context(Market(()), Written([waited])),
        machine=machine(),
        cloud=cloud,
        shell=Answering(),  # type: ignore[arg-type]
    )
    if runs:
        assert (await await_running(ctx)).instance == STANDBY
        return
    with pytest.raises(Refused, match="not usable after 240 s: the standby reads exited"):
        await await_running(ctx)
