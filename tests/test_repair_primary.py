"""A rebooted primary is waited for by the clock: of a large account a look takes seconds, and of a small one a blink."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from machines.errors import NotYet, Refused
from machines.journal import Entry, Mark
from machines.model import InstanceId, Machine, MachineId, Status
from machines.strategies import repair_primary

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)
PRIMARY = InstanceId(7001)


@dataclass
class Bench:
    """The step on a clock of ours, beside a provider that says what we let it say."""

    look_s: float
    says: Status | None = Status.EXITED
    now: datetime = BEGIN
    speed: float = 1.0
    entries: list[Entry] = field(default_factory=lambda: [Entry("reboot", Mark.DONE, BEGIN)])

    async def look(self) -> str:
        """What one look comes to: the reason of its wait, or the code of its refusal."""
        self.now += timedelta(seconds=self.look_s)
        shown = {} if self.says is None else {PRIMARY: SimpleNamespace(status=self.says)}
        outputs = {"note_boot": repair_primary.Noted(("b1",)), "reboot": repair_primary.Rebooted(PRIMARY, "b1")}

        async def boots(instance: InstanceId, only_live: bool = False) -> frozenset[str]:
            return frozenset()

        async def list_(max_age_s: float = 0.0, about: object = None) -> Any:
            return SimpleNamespace(instances=shown)

        ctx: Any = SimpleNamespace(
            machine=Machine(MachineId(1), "one", primary=PRIMARY, boot_id="b1", since=BEGIN),
            fleet=SimpleNamespace(boots=boots),
            cloud=SimpleNamespace(list=list_),
            clock=SimpleNamespace(since=lambda at, unseen_at_most=None: self.now - at, real=lambda s: s * self.speed),
            entries=self.entries,
            output=lambda step: outputs[step.name],
        )
        with pytest.raises((NotYet, Refused)) as raised:
            await repair_primary.await_heartbeat(ctx)
        if isinstance(raised.value, Refused):
            assert raised.value.code == "primary_not_restartable"
            return "refused"
        why = raised.value.why
        self.entries.append(Entry("await_heartbeat", Mark.WAITING, self.now, why=why, until=self.now))
        return why

    async def until_refused(self) -> float:
        """Seconds since the reboot."""
        while await self.look() != "refused":
            assert len(self.entries) < 1000
        return (self.now - BEGIN).total_seconds()


@pytest.mark.parametrize("look_s", [1.0, 5.0, 12.0])
async def test_exited_is_final_after_the_same_time_however_slow_a_look_is(look_s: float) -> None:
    assert 40 <= await Bench(look_s).until_refused() <= 40 + look_s


@pytest.mark.parametrize("look_s", [1.0, 5.0])
@pytest.mark.parametrize("says", [Status.RUNNING, None])
async def test_one_that_came_up_and_is_silent_is_given_two_minutes(says: Status | None, look_s: float) -> None:
    assert 120 <= await Bench(look_s, says).until_refused() <= 120 + look_s


async def test_at_a_higher_speed_the_agent_still_has_the_real_time_that_a_process_needs() -> None:
    assert 400 <= await Bench(5.0, Status.RUNNING, speed=20.0).until_refused() <= 405


async def test_one_late_look_is_no_verdict() -> None:
    bench = Bench(100.0)
    assert [await bench.look() == "refused" for _ in range(4)] == [False, False, False, True]


async def test_one_that_came_up_and_exited_again_is_given_up_at_once() -> None:
    bench = Bench(1.0, Status.RUNNING)
    await bench.look()
    bench.says = Status.EXITED
    assert await bench.look() == "refused"
