"""The brakes: who waits for whom, what a storm changes, and what suspends automatic action. On both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from adapters.sql.tables import PAUSES
from daemon.changes import SUSPENDED
from daemon.loop import _Posted
from daemon.storm import STORM, StormWatch
from machines.admission import FailoverRequest
from machines.brake import Crowd, Spent, no_place, overspent, quarantined_until, with_suspicion
from machines.failover import AttemptEnded, Due, Heard, Lost, Probed, Silenced
from machines.model import (
    HostId,
    InstanceId,
    Machine,
    MachineId,
    Mode,
    Reason,
    Rung,
    Setting,
    Source,
    Testimony,
    WaitsFor,
    Word,
)
from machines.policy import Policy
from machines.states import State
from tests.test_api_stage import Stage, stage

T0 = datetime(2026, 11, 23, tzinfo=UTC)
POLICY = Policy()
MACHINE = Machine(MachineId(7), "golf", mode=Mode.ON, host=HostId(3), priority=5)
CPU, WARM, REPAIR = (Rung.CPU_STANDBY,), (Rung.WARM_POOL, Rung.CPU_STANDBY), (Rung.REPAIR_PRIMARY, Rung.CPU_STANDBY)


# -- places


@pytest.mark.parametrize(
    ("crowd", "rungs", "waits_for", "words"),
    [
        (Crowd(running=9), CPU, None, ""),
        (Crowd(running=10), CPU, WaitsFor.PLACE, "position 1 of 1 in the queue (priority 5): 10 automatic failovers"),
        (Crowd(running=7, ahead=3, waiting=9), WARM, WaitsFor.PLACE, "position 4 of 10"),
        (Crowd(running=7, ahead=2), WARM, None, ""),
        (Crowd(renting=8), CPU, WaitsFor.RENTAL, "8 failovers rent from the provider, the cap is 8"),
        (Crowd(renting=8), REPAIR, WaitsFor.RENTAL, "8 failovers rent"),
        (Crowd(renting=8), WARM, None, ""),
        (Crowd(renting=6, ahead_renting=2, waiting=2), CPU, WaitsFor.RENTAL, "position 3 of 3"),
        (Crowd(on_host=4), WARM, WaitsFor.HOST, "4 failovers of machines on host 3 are running, the cap is 4"),
    ],
)
def test_a_place_is_given_only_where_nobody_more_important_waits_for_it(
    crowd: Crowd, rungs: tuple[Rung, ...], waits_for: WaitsFor | None, words: str
) -> None:
    full = no_place(MACHINE, rungs, crowd, POLICY)
    assert (full.waits_for if full else None) is waits_for
    assert words in (full.because if full else "")


# -- quarantine


def suspected(seconds: Iterable[float]) -> Machine:
    machine = MACHINE
    for at in seconds:
        machine = replace(machine, suspicions=with_suspicion(machine, T0 + timedelta(seconds=at), POLICY))
    return machine


def test_a_machine_that_is_suspect_again_and_again_is_in_quarantine() -> None:
    assert quarantined_until(suspected([0, 80, 160]), POLICY) is None
    until = T0 + timedelta(seconds=240 + POLICY.quarantine_s)
    assert quarantined_until(suspected([0, 80, 160, 240]), POLICY) == until
    assert quarantined_until(suspected([0, 1000, 2000, 3000]), POLICY) is None


def test_only_as_many_suspicions_are_kept_as_a_quarantine_needs() -> None:
    assert len(suspected(range(0, 1000, 10)).suspicions) == POLICY.flap_count


# -- budgets


@pytest.mark.parametrize(
    ("spent", "words"),
    [
        (Spent(9, 4, 2), None),
        (Spent(9, 5, 0), "5 of 9 automatic failovers within 60 minutes replaced nothing"),
        (Spent(11, 5, 0), None),
        (Spent(6, 0, 3), "3 of 6 automatic failovers within 60 minutes were of machines that spoke again"),
        (Spent(30, 0, 3), None),
    ],
)
def test_a_budget_is_spent_by_failures_and_by_false_alarms(spent: Spent, words: str | None) -> None:
    assert overspent(spent, POLICY) == words


def test_a_budget_of_nothing_is_none() -> None:
    assert overspent(Spent(9, 9, 9), replace(POLICY, failed_budget=0, false_alarm_budget=0)) is None


# -- the whole gate, on the store


class Fleet:
    """Machines that die when they are told to, on the stage of the API's tests."""

    def __init__(self, s: Stage) -> None:
        self.s = s

    async def add(self, number: int, **more: Any) -> None:
        await self.s.machine(number, 1000 + number, host=HostId(number), **more)

    async def silence(self, number: int) -> None:
        await self.s.loop.apply(MachineId(number), Silenced(31.0, 30.0))

    async def confirm(self, number: int) -> State:
        """Its death, by two sources; the gate is asked at once."""
        words = ((Source.PROVIDER, "host offline"), (Source.SSH, "refused"))
        now = self.s.clock.now()
        said = tuple(Testimony(source, Word.DEAD, detail, now) for source, detail in words)
        await self.s.loop.apply(MachineId(number), Probed(InstanceId(1000 + number), said))
        return (await self.s.stored(number)).state

    async def die(self, number: int) -> State:
        await self.silence(number)
        return await self.confirm(number)

    async def lose(self, number: int, code: str = "no_offer_matches") -> None:
        running = (await self.s.stored(number)).failover
        assert running is not None
        await self.s.loop.apply(MachineId(number), AttemptEnded(running.id, running.fence, Lost(code, code)))

    async def speak(self, number: int) -> None:
        await self.s.loop.apply(MachineId(number), Heard(InstanceId(1000 + number), "b1", 10.0, 0))

    async def queue(self) -> list[int]:
        return [row["machine_id"] for row in (await self.s.http.get("/api/v1/fleet")).json()["queue"]]

    async def alerts(self) -> dict[str, str]:
        return {alert.key: alert.text for alert in await self.s.store.transact(lambda tx: tx.open_alerts())}


@asynccontextmanager
async def fleet(size: int) -> AsyncIterator[Fleet]:
    """The higher its number, the more important a machine is."""
    async with stage() as s:
        found = Fleet(s)
        for number in range(1, size + 1):
            await found.add(number, priority=number)
        yield found


WAITING = State.DETECTING
RUNNING = State.CPU_STANDBY_ATTEMPT


async def test_the_more_important_machine_is_served_first_although_it_asked_last() -> None:
    async with fleet(12) as f:
        for number in range(1, 9):
            assert await f.die(number) is RUNNING
        assert await f.die(9) is WAITING, "the provider's places are taken"
        assert await f.die(11) is WAITING
        assert await f.die(10) is WAITING
        assert await f.queue() == [11, 10, 9]
        assert "position 1 of 2" in (await f.s.stored(11)).because
        await f.lose(1)
        assert await f.confirm(9) is WAITING, "11 and 10 are ahead"
        assert await f.confirm(11) is RUNNING
        assert await f.queue() == [10, 9]


async def test_where_places_are_short_a_machine_that_fell_silent_just_now_is_waited_for() -> None:
    async with fleet(12) as f:
        for number in range(1, 8):
            await f.die(number)
        await f.silence(12)
        assert await f.die(9) is WAITING, "one place is left, and 12 may turn out to be dead"
        await f.s.clock.advance(POLICY.gather_s + 1)
        assert await f.confirm(9) is RUNNING, "it did not"


async def test_whoever_has_stopped_asking_is_not_waited_for() -> None:
    async with fleet(12) as f:
        for number in range(1, 9):
            await f.die(number)
        await f.die(12)
        await f.die(9)
        await f.lose(1)
        await f.s.clock.advance(60)
        assert await f.confirm(9) is RUNNING
        assert await f.queue() == []


async def test_a_machine_that_speaks_again_leaves_the_queue() -> None:
    async with fleet(10) as f:
        for number in range(1, 10):
            await f.die(number)
        assert await f.queue() == [9]
        await f.speak(9)
        assert await f.queue() == []
        assert (await f.s.stored(9)).queued is None


async def test_the_end_of_a_failover_calls_the_next_in_the_queue_at_once() -> None:
    async with fleet(10) as f:
        for number in range(1, 11):
            await f.die(number)
        await f.lose(1)
        await f.s.loop._call_next()
        items = [f.s.loop._queue.get_nowait() for _ in range(f.s.loop._queue.qsize())]
        posted = [(item.machine, item.signal) for item in items if isinstance(item, _Posted)]
        assert (MachineId(10), Due()) in posted


async def test_only_the_replica_that_hears_a_machine_calls_it_from_the_queue() -> None:
    """Asked elsewhere it would be told that the observer is blind, and lose its place."""
    async with fleet(10) as f:
        for number in range(1, 11):
            await f.die(number)
        f.s.loop.hears = lambda machine: machine.id == 9  # type: ignore[method-assign]
        await f.s.loop._call_next()
        items = [f.s.loop._queue.get_nowait() for _ in range(f.s.loop._queue.qsize())]
        assert [item.machine for item in items if isinstance(item, _Posted) and item.signal == Due()] == [9]


async def test_a_provider_that_does_not_answer_takes_nobody_s_place() -> None:
    async with fleet(0) as f:
        for number in range(1, 12):
            await f.add(number)
        for number in range(1, 11):
            await f.die(number)
            await f.s.clock.advance(1)
        assert await f.queue() == [9, 10]
        mute = Testimony(Source.PROVIDER, Word.UNKNOWN, "no answer: 502", f.s.clock.now())
        await f.s.loop.apply(MachineId(9), Probed(InstanceId(1009), (mute,)))
        await f.lose(1)
        assert await f.confirm(10) is WAITING, "9 is ahead"
        assert await f.confirm(9) is RUNNING


async def test_suspects_from_before_a_step_back_of_the_clock_hold_nobody_up() -> None:
    async with stage() as s:
        f = Fleet(s)
        for number in range(1, 9):
            await f.add(number, priority=5)
            await f.silence(number)  # Their agents died: they are watched, and never asked for.
        await f.add(20)
        await s.clock.advance(600)
        plain = s.clock.now
        s.clock.now = lambda: plain() - timedelta(hours=1)  # type: ignore[method-assign]
        assert await f.die(20) is RUNNING


async def test_a_host_has_its_own_cap_and_holds_nobody_else_up() -> None:
    async with stage() as s:
        f = Fleet(s)
        for number in range(1, 7):
            await s.machine(number, 1000 + number, host=HostId(60), priority=9)
        await f.add(7)
        states = [await f.die(number) for number in range(1, 8)]
        assert states == [RUNNING] * 4 + [WAITING] * 2 + [RUNNING]
        assert (await s.stored(5)).queued is not None


async def test_a_persons_failover_passes_every_brake() -> None:
    async with fleet(11) as f:
        for number in range(1, 10):
            await f.die(number)
        request = FailoverRequest(Reason.HTTP, Setting.CPU_STANDBY)
        await f.s.loop.request_admission(MachineId(9), request)
        assert (await f.s.stored(9)).state is RUNNING


async def test_a_storm_is_told_once_and_ends_after_its_cooldown() -> None:
    async with fleet(12) as f:
        watch = StormWatch(f.s.store, POLICY, f.s.clock)
        for number in range(1, 13):
            await f.die(number)
        shown = (await f.s.http.get("/api/v1/fleet")).json()
        assert shown["storm"] is not None
        assert shown["caps"] == {"fleet": 10, "host": 4, "provider": 8}
        assert [row["position"] for row in shown["queue"]] == [1, 2, 3, 4]
        assert list(await f.alerts()) == [STORM]
        await f.s.clock.advance(POLICY.storm_cooldown_s - 1)
        await watch.look()
        assert STORM in await f.alerts()
        await f.s.clock.advance(12)
        await watch.look()
        assert STORM not in await f.alerts()
        assert (await f.s.http.get("/api/v1/fleet")).json()["storm"] is None


async def test_a_machine_whose_failover_has_just_ended_has_its_cooldown() -> None:
    async with fleet(1) as f:
        await f.die(1)
        await f.s.win(1, new=5001)
        await f.s.loop.apply(MachineId(1), Heard(InstanceId(5001), "b2", 10.0, 0))
        await f.silence(1)
        said = (
            Testimony(Source.PROVIDER, Word.DEAD, "host offline", f.s.clock.now()),
            Testimony(Source.SSH, Word.DEAD, "refused", f.s.clock.now()),
        )
        await f.s.loop.apply(MachineId(1), Probed(InstanceId(5001), said))
        machine = await f.s.stored(1)
        assert machine.state is WAITING
        assert "has just ended" in machine.because
        assert machine.look_at == f.s.clock.now() + timedelta(seconds=POLICY.machine_cooldown_s)


async def test_a_flapping_machine_is_in_quarantine_and_a_person_lifts_it() -> None:
    async with fleet(1) as f:
        for _ in range(POLICY.flap_count):
            await f.s.clock.advance(80)
            await f.silence(1)
            await f.speak(1)
        assert "it flaps: suspect 4 times within 4 minutes" in (await f.alerts())["machine-1-flapping"]
        assert await f.die(1) is WAITING
        assert "in quarantine until" in (await f.s.stored(1)).because
        told = (await f.s.http.get("/api/v1/machines/1/explain")).json()["next"]
        assert "in quarantine until" in told
        lifted = await f.s.http.put("/api/v1/machines/1", json={"auto_failover": "on"})
        assert lifted.status_code == 200, lifted.text
        assert await f.confirm(1) is RUNNING
        await StormWatch(f.s.store, POLICY, f.s.clock).look()
        assert "machine-1-flapping" not in await f.alerts()


async def test_what_the_observer_heard_while_it_was_blind_makes_no_machine_flap() -> None:
    """An outage of the broker that comes a few times is no reason to leave the whole fleet alone for an hour."""
    async with fleet(1) as f:
        for trusted_for_s in (0.0, 2.0, 0.0, 2.0, 0.0):
            await f.silence(1)
            await f.s.clock.advance(40)
            await f.s.loop.apply(MachineId(1), Heard(InstanceId(1001), "b1", 10.0, 0, trusted_for_s=trusted_for_s))
        assert (await f.s.stored(1)).suspicions == ()
        assert await f.die(1) is RUNNING
        assert "machine-1-flapping" not in await f.alerts()


async def test_a_silence_that_came_after_the_blindness_counts() -> None:
    async with fleet(1) as f:
        await f.silence(1)
        await f.s.clock.advance(40)
        await f.s.loop.apply(MachineId(1), Heard(InstanceId(1001), "b1", 10.0, 0, trusted_for_s=41.0))
        assert len((await f.s.stored(1)).suspicions) == 1


async def test_failures_in_a_row_suspend_automatic_action_until_a_person_resumes() -> None:
    async with fleet(8) as f:
        for number in range(1, 6):
            assert await f.die(number) is RUNNING
            await f.lose(number)
        assert "5 of 5 automatic failovers" in (await f.alerts())[SUSPENDED]
        assert await f.die(6) is WAITING
        shown = (await f.s.http.get("/api/v1/fleet")).json()
        assert (shown["automatic_failover"], shown["pause"]["by"]) == ("paused", "failoverd")
        assert [row["waits_for"] for row in shown["queue"]] == ["resume"]
        assert (await f.s.http.post("/api/v1/resume")).status_code == 200
        assert SUSPENDED not in await f.alerts()
        assert await f.confirm(6) is RUNNING
        await f.lose(6)
        assert SUSPENDED not in await f.alerts(), "what a person has seen is forgiven"


async def test_false_alarms_suspend_automatic_action() -> None:
    async with fleet(8) as f:
        for number in (1, 2, 3):
            await f.die(number)
            await f.speak(number)
            await f.lose(number, "cancelled")
        assert "were of machines that spoke again" in (await f.alerts())[SUSPENDED]


async def test_a_suspension_that_ran_out_is_resolved() -> None:
    async with fleet(5) as f:
        for number in range(1, 6):
            await f.die(number)
            await f.lose(number)
        watch = StormWatch(f.s.store, POLICY, f.s.clock)
        await watch.look()
        assert SUSPENDED in await f.alerts()
        await f.s.clock.advance(POLICY.suspension_s + 1)
        await watch.look()
        assert SUSPENDED not in await f.alerts()


async def test_a_pause_that_cannot_be_read_ends_no_failover_badly_and_is_shown_as_a_pause() -> None:
    async with fleet(6) as f:
        for number in range(1, 7):
            assert await f.die(number) is RUNNING
        await f.s.store.transact(lambda tx: tx._connection.execute(delete(PAUSES)))
        for number in range(1, 7):
            await f.lose(number)
        assert (await f.s.stored(6)).state is State.FAILED
        shown = (await f.s.http.get("/api/v1/fleet")).json()
        assert shown["automatic_failover"] == "paused"
        assert "cannot be read" in shown["pause"]["reason"]
        await StormWatch(f.s.store, POLICY, f.s.clock).look()
        assert (await f.s.http.post("/api/v1/resume")).status_code == 200
        assert (await f.s.http.get("/api/v1/fleet")).json()["automatic_failover"] == "on"
