"""The states of a warm pool: each says what happens next, or what an operator does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest

from daemon.rearm import needs_standby, rearm_debt
from machines.failover import AttemptEnded, EndFailover, Lost, Won
from machines.model import (
    Debt,
    DebtKind,
    HostId,
    InstanceId,
    Label,
    Machine,
    Prepared,
    Rung,
    Setting,
    Standby,
    VolumeId,
    VolumeMount,
    WarmPool,
)
from machines.policy import Policy
from machines.pool import OVER_BUDGET, PoolState, is_of_use, lacks_pool, pool_of
from machines.readiness import Findings, judge_readiness
from machines.states import State
from machines.strategies.ladder import ladder
from tests.test_api_stage import BEGIN, stage
from tests.test_warm_pool import (
    FAILOVER,
    HOST,
    NEW,
    OLD,
    STANDBY,
    T0,
    VOLUME,
    machine,
    replacement,
    running,
    tell,
)

IDLE = machine(State.HEALTHY, failover=None)
OWED = replace(rearm_debt(IDLE, "it has a volume and no standby"), due_at=T0 + timedelta(minutes=2))


def state_of(one: Machine, fault: str | None = None, *debts: Any) -> PoolState:
    findings = Findings(T0, None, True, True, None, fault)
    pool = pool_of(one, judge_readiness(one, findings, Policy(), T0), debts)
    assert pool.next
    return pool.state


@pytest.mark.parametrize(
    ("one", "fault", "debts", "state"),
    [
        (replace(IDLE, setting=Setting.CPU_STANDBY), None, (), PoolState.DISABLED),
        (replace(IDLE, setting=Setting.DISABLED), None, (), PoolState.DISABLED),
        (IDLE, None, (), PoolState.ACTIVE),
        (IDLE, "another tenant has the GPU", (), PoolState.DEGRADED),
        (machine(), None, (), PoolState.FAILING_OVER),
        (replace(IDLE, volume=None), None, (), PoolState.ERROR),
        (replace(IDLE, primary=None), None, (), PoolState.ERROR),
        (replace(IDLE, standby=None), None, (OWED,), PoolState.SEARCHING),
        (replace(IDLE, standby=None), None, (replace(OWED, label=Label("l")),), PoolState.PROVISIONING),
        (replace(IDLE, standby=None), None, (replace(OWED, last_error=f"{OVER_BUDGET}: why"),), PoolState.ERROR),
    ],
)
def test_a_warm_pool_has_one_state(one: Machine, fault: str | None, debts: tuple[Any, ...], state: PoolState) -> None:
    assert state_of(one, fault, *debts) is state


def test_after_it_was_used_it_recovers() -> None:
    won, _ = tell(machine(), AttemptEnded(FAILOVER, 1, Won(replacement(STANDBY, has_volume=True))))
    assert state_of(won, None, OWED) is PoolState.RECOVERING
    assert state_of(won, None, replace(OWED, label=Label("l"))) is PoolState.RECOVERING


async def test_readiness_and_status_show_it_with_what_comes_next() -> None:
    async with stage() as s:
        await s.machine(setting=Setting.WARM_POOL)
        readiness = (await s.http.get("/api/v1/failover/readiness/123")).json()["warm_pool_status"]
        status = (await s.http.get("/api/v1/failover/status/123")).json()["warm_pool"]
        assert readiness["state"] == status["state"] == "error"
        assert "PUT /api/v1/machines/123" in readiness["next"]
        assert BEGIN.isoformat() not in status["next"]


# -- no state is a dead end


@dataclass(frozen=True)
class Scene:
    """What the state of a pool follows from."""

    machine: Machine
    debts: tuple[Debt, ...] = ()
    fault: str | None = None

    def __hash__(self) -> int:
        one = self.machine
        return hash(
            (one.state, one.setting, one.primary, one.volume, one.standby, one.warm_pool, self.debts, self.fault)
        )

    @property
    def state(self) -> PoolState:
        return state_of(self.machine, self.fault, *self.debts)


WISH, POOL_HOST = WarmPool(), HostId(200)
FIRST = Standby(InstanceId(7101), POOL_HOST, Label("pool-1"))
PREPARED = Prepared(VolumeMount(VolumeId(990), "/workspace"), POOL_HOST, FIRST, 0.4)
PROVISION = Debt(
    DebtKind.PROVISION_POOL, IDLE.id, None, None, None, None, "an operator asked for a warm pool", due_at=T0
)
NOTHING_YET = Scene(replace(IDLE, primary=None, host=None, volume=None, standby=None))


def by_people(scene: Scene) -> Iterator[Scene]:
    one = scene.machine
    if one.failover is not None:
        return
    yield settled(replace(scene, machine=replace(one, setting=Setting.DISABLED)))
    yield settled(replace(scene, machine=replace(one, setting=Setting.BOTH)))
    yield settled(replace(scene, machine=replace(one, warm_pool=None)))
    yield settled(replace(scene, machine=replace(one, warm_pool=one.warm_pool or WISH)))
    if one.primary is None:
        yield settled(replace(scene, machine=replace(one, primary=OLD, host=HOST)))
    elif one.volume is None:
        yield settled(replace(scene, machine=replace(one, volume=VOLUME)))
    over = tuple(replace(debt, last_error=None) for debt in scene.debts)
    yield replace(scene, debts=over)  # The budget is raised.


def by_itself(scene: Scene) -> Iterator[Scene]:
    one = scene.machine
    if one.failover is not None:
        new = replacement(STANDBY, has_volume=one.volume is not None)
        if one.state is State.CPU_STANDBY_ATTEMPT and one.warm_pool is not None and one.warm_pool.prepared is not None:
            new = replace(replacement(FIRST.instance, has_volume=False), volume=PREPARED.volume, host=POOL_HOST)
        yield settled(after(scene, Won(new)))
        yield settled(after(scene, Lost("host_offline", "the host is gone")))
        return
    yield from (settled(found) for debt in scene.debts for found in worked_off(scene, debt))
    yield settled(scene)


def by_the_world(scene: Scene) -> Iterator[Scene]:
    one = scene.machine
    yield replace(scene, fault=None if scene.fault else "another tenant has the GPU")
    owed = tuple(replace(debt, last_error="budget_exceeded: 2.10 $/h") for debt in scene.debts)
    yield replace(scene, debts=owed)
    if one.failover is None and one.primary is not None:
        for rung in ladder(one.setting):
            begun = replace(one, state=rung_state(rung), failover=running(rung))
            yield replace(scene, machine=begun)


def rung_state(rung: Rung) -> State:
    return State.WARM_POOL_ATTEMPT if rung is Rung.WARM_POOL else State.CPU_STANDBY_ATTEMPT


def after(scene: Scene, outcome: Won | Lost) -> Scene:
    assert scene.machine.failover is not None
    ended, effects = tell(scene.machine, AttemptEnded(FAILOVER, scene.machine.failover.attempt, outcome))
    owed = [debt for effect in effects if isinstance(effect, EndFailover) for debt in effect.debts]
    kept = {debt.kind: debt for debt in (*scene.debts, *owed) if debt.kind in (DebtKind.REARM, DebtKind.PROVISION_POOL)}
    told = {
        name: getattr(ended, name) for name in ("primary", "host", "volume", "standby", "warm_pool", "last_failover")
    }
    plain = replace(scene.machine, state=State.HEALTHY, failover=None, **told)
    return Scene(plain, tuple(kept.values()), scene.fault)


def settled(scene: Scene) -> Scene:
    """What the periodic scan makes of it: what is lacking is owed, what is of no use is given up."""
    one = scene.machine
    if one.failover is not None:
        return scene
    wish = one.warm_pool
    if wish is not None and wish.prepared is not None and not is_of_use(one, wish.prepared):
        one = replace(one, warm_pool=replace(wish, prepared=None))
    debts = [debt for debt in scene.debts if debt.kind is not DebtKind.PROVISION_POOL or lacks_pool(one)]
    debts = [debt for debt in debts if debt.kind is not DebtKind.REARM or needs_standby(one)]
    kinds = {debt.kind for debt in debts}
    if lacks_pool(one) and DebtKind.PROVISION_POOL not in kinds:
        debts.append(PROVISION)
    if needs_standby(one) and DebtKind.REARM not in kinds:
        debts.append(OWED)
    return Scene(one, tuple(debts), scene.fault)


def worked_off(scene: Scene, debt: Debt) -> Iterator[Scene]:
    """The next step of each thing that is being rented."""
    one, wish = scene.machine, scene.machine.warm_pool
    others = tuple(other for other in scene.debts if other is not debt)
    if debt.kind is DebtKind.REARM:
        if debt.label is None:
            yield replace(scene, debts=(*others, replace(debt, label=Label("l"), last_error=None)))
            if wish is not None:
                yield replace(scene, machine=replace(one, warm_pool=replace(wish, home_is_full=True)))
        else:
            home = replace(wish, home_is_full=False) if wish is not None else None
            yield replace(scene, machine=replace(one, standby=Standby(STANDBY, HOST), warm_pool=home), debts=others)
    elif debt.row is None:
        yield replace(scene, debts=(*others, replace(debt, row=1, last_error=None)))
    elif debt.label is None:
        yield replace(scene, debts=(*others, replace(debt, label=Label("l"), last_error=None)))
    elif one.primary is None:
        yield replace(scene, machine=replace(one, primary=NEW, host=HOST, volume=VOLUME), debts=others)
    elif wish is not None:
        prepared = replace(wish.prepared, second=FIRST) if wish.prepared is not None else PREPARED
        bound = (*others, replace(debt, label=None)) if not prepared.is_complete else others
        yield replace(scene, machine=replace(one, warm_pool=replace(wish, prepared=prepared)), debts=bound)


@cache
def everything() -> dict[Scene, list[tuple[bool, Scene]]]:
    """Every scene that can come about, and what can become of it; True is what no person has to do."""
    found: dict[Scene, list[tuple[bool, Scene]]] = {}
    ahead = [settled(NOTHING_YET), settled(Scene(IDLE))]
    while ahead:
        scene = ahead.pop()
        if scene in found:
            continue
        found[scene] = [
            *((True, one) for one in by_itself(scene)),
            *((False, one) for one in (*by_people(scene), *by_the_world(scene))),
        ]
        ahead += [one for _, one in found[scene]]
    return found


def reaches(found: dict[Scene, list[tuple[bool, Scene]]], wanted: frozenset[PoolState], alone: bool) -> set[Scene]:
    """Who gets there; `alone` without a person and without luck."""
    came_from: dict[Scene, list[Scene]] = {}
    for scene, moves in found.items():
        for is_own, one in moves:
            if is_own or not alone:
                came_from.setdefault(one, []).append(scene)
    arrived = {scene for scene in found if scene.state in wanted}
    ahead = list(arrived)
    while ahead:
        fresh = [one for one in came_from.get(ahead.pop(), ()) if one not in arrived]
        arrived.update(fresh)
        ahead += fresh
    return arrived


def test_every_state_comes_about_and_none_is_a_dead_end() -> None:
    found = everything()
    assert {scene.state for scene in found} == set(PoolState)
    for state in (PoolState.ACTIVE, PoolState.DISABLED):
        assert reaches(found, frozenset({state}), alone=False) == set(found)


def test_what_is_under_way_ends_without_a_person() -> None:
    found = everything()
    at_rest = frozenset({PoolState.ACTIVE, PoolState.DEGRADED, PoolState.ERROR, PoolState.DISABLED})
    assert reaches(found, at_rest, alone=True) == set(found)


def test_where_a_person_is_needed_the_state_says_what_to_do() -> None:
    for scene in everything():
        if scene.state in (PoolState.ERROR, PoolState.DISABLED):
            findings = Findings(T0, None, True, True, None, scene.fault)
            said = pool_of(scene.machine, judge_readiness(scene.machine, findings, Policy(), T0), scene.debts).next
            assert any(word in said for word in ("PUT ", "policy.", "budget")), said
