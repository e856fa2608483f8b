"""Silence in log time: who is silent, and is the observer itself blind?

One array of deadlines per partition; `inf` is "not armed". A heartbeat of a healthy machine stores a number, nothing
else; whatever is news is handed back as a small object (facts/performance.md, sections 8 and 10).

Log time of a partition is the sum of the differences between the append times of its records, each clamped: a broker
that stands still, a clock that is stepped and a replay do not make it run on. All times here are seconds.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

import numpy as np

from events.schema import Heartbeat
from machines.policy import Policy


@dataclass(frozen=True, slots=True)
class LogTimeLimits:
    """How far one record may move log time, and how far apart two may lie before the history has a gap.

    Both in the clock's (scaled) seconds; blindness is never judged on less than a real second.
    """

    max_step_s: float = 2.0
    max_gap_s: float = 2.0


@dataclass(slots=True)
class LogClock:
    """Log time of one partition, and whether its history can be trusted."""

    limits: LogTimeLimits
    now: float = 0.0
    newest: float | None = None
    """Append time of the newest record read."""
    gap_at: float | None = None
    """Log time of the newest gap: ticks should have been there, so the path was closed."""
    next_offset: int = 0

    def advance(self, offset: int, appended: float) -> None:
        """Take in the record at this offset; one that was already read (a replay, a seek) changes nothing."""
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        if self.newest is None:
            self.newest = appended
            return
        step = appended - self.newest
        self.now += min(max(step, 0.0), self.limits.max_step_s)
        was_stepped_back = -step > self.limits.max_gap_s
        # Records that lie a little out of order must not make log time run faster. A clock that was stepped back is
        # another matter: waiting until it has caught up would leave its machines unwatched for so long.
        self.newest = appended if was_stepped_back else max(self.newest, appended)
        if was_stepped_back or step > self.limits.max_gap_s:
            self.gap_at = self.now


@dataclass(frozen=True, slots=True)
class News:
    """A heartbeat that says more than 'still alive'."""

    beat: Heartbeat
    partition: int
    is_new_boot: bool
    is_resumed: bool


@dataclass(frozen=True, slots=True)
class Silence:
    machine_id: int
    silent_s: float
    grace_s: float
    sequence: int | None
    """Of its last beat; None where none was heard."""


@dataclass(slots=True)
class _Slots:
    """The machines judged on one partition, as parallel arrays."""

    ids: array[int] = field(default_factory=lambda: array("q"))
    instance: array[int] = field(default_factory=lambda: array("q"))
    boot: array[int] = field(default_factory=lambda: array("q"))
    """64 bits of a boot id: kept strings would cost a million machines 60 MB."""
    sequence: array[int] = field(default_factory=lambda: array("q"))
    grace: array[float] = field(default_factory=lambda: array("d"))
    heard: array[float] = field(default_factory=lambda: array("d"))
    deadline: array[float] = field(default_factory=lambda: array("d"))
    alert: bytearray = field(default_factory=bytearray)
    """1 where the next good heartbeat is news: the machine is suspect, recovered or failed."""
    free: list[int] = field(default_factory=list)

    def add(self, machine_id: int) -> int:
        if self.free:
            index = self.free.pop()
            self.ids[index] = machine_id
            return index
        self.ids.append(machine_id)
        for column in (self.instance, self.boot, self.sequence):
            column.append(0)
        self.grace.append(0.0)
        self.heard.append(0.0)
        self.deadline.append(inf)
        self.alert.append(0)
        return len(self.ids) - 1

    def remove(self, index: int) -> None:
        self.deadline[index] = inf
        self.grace[index] = inf
        self.ids[index] = -1
        self.free.append(index)


class Detector:
    """Judges the silence of the machines on the partitions that this process owns."""

    def __init__(self, policy: Policy, limits: LogTimeLimits | None = None) -> None:
        self._policy = policy
        self._limits = limits or LogTimeLimits()
        self._clocks: dict[int, LogClock] = {}
        self._slots: dict[int, _Slots] = {}
        self._where: dict[int, tuple[int, int]] = {}

    # -- ownership

    def own(self, partition: int) -> LogClock:
        """Begin to judge a partition; its log time starts where its history is read back from."""
        self._slots.setdefault(partition, _Slots())
        return self._clocks.setdefault(partition, LogClock(self._limits))

    def disown(self, partition: int) -> None:
        slots = self._slots.pop(partition, None)
        self._clocks.pop(partition, None)
        for machine_id in slots.ids if slots is not None else ():
            if machine_id >= 0 and self._where.get(machine_id, (-1, 0))[0] == partition:
                del self._where[machine_id]

    def partitions(self) -> tuple[int, ...]:
        return tuple(self._clocks)

    def clock(self, partition: int) -> LogClock:
        return self._clocks[partition]

    def partition_of(self, machine_id: int) -> int | None:
        place = self._where.get(machine_id)
        return None if place is None else place[0]

    # -- registration: the slow path

    def arm(
        self,
        machine_id: int,
        partition: int,
        instance: int,
        interval_s: float,
        *,
        alert: bool,
        boot_id: str = "",
        sequence: int | None = None,
        grace_s: float | None = None,
    ) -> None:
        """Judge the machine on this partition from now on; also one that was not heard yet.

        A machine that is armed again for the same instance keeps what was heard of it. `boot_id` is the agent's that is
        known already: its beats are no news, or every change of owners would make news of the whole partition. Of them
        those up to `sequence` were heard before: they are nothing at all. `grace_s` is the machine's own; None is what the
        fleet's policy gives to that interval.
        """
        if partition not in self._slots:
            self.forget(machine_id)  # It speaks where another one listens.
            return
        slots, index = self._place(machine_id, partition)
        if slots.instance[index] != instance:
            slots.instance[index] = instance
            slots.boot[index] = hash(boot_id) if boot_id else 0
            slots.sequence[index] = -1 if sequence is None or not boot_id else sequence
            slots.heard[index] = self._clocks[partition].now
        slots.grace[index] = self._policy.grace_s(interval_s) if grace_s is None else grace_s
        slots.alert[index] = alert
        slots.deadline[index] = slots.heard[index] + slots.grace[index]

    def _place(self, machine_id: int, partition: int) -> tuple[_Slots, int]:
        place = self._where.get(machine_id)
        if place is not None and place[0] == partition:
            return self._slots[partition], place[1]
        if place is not None:
            self._slots[place[0]].remove(place[1])
        slots = self._slots[partition]
        index = slots.add(machine_id)
        slots.instance[index] = -1
        self._where[machine_id] = (partition, index)
        return slots, index

    def disarm(self, machine_id: int) -> None:
        """No silence of this machine is reported until it is armed again; its beats are still followed."""
        place = self._where.get(machine_id)
        if place is not None:
            slots, index = self._slots[place[0]], place[1]
            slots.deadline[index] = inf
            slots.alert[index] = 1

    def forget(self, machine_id: int) -> None:
        place = self._where.pop(machine_id, None)
        if place is not None:
            self._slots[place[0]].remove(place[1])

    # -- the hot path

    def hear(self, partition: int, beats: Iterable[Heartbeat], gaps: list[float] | None = None) -> list[News]:
        """Store the deadlines of a batch; give back what is news, in order. To `gaps` the seconds of log time are added
        that lie between each beat and the one before it of the same life of the agent.

        Order is (instance, boot id, sequence): an older sequence of the same boot changes nothing, and an instance
        that is not the machine's primary never refreshes it.
        """
        where, clock = self._where, self._clocks[partition]
        slots = self._slots[partition]
        instance, boot, sequence = slots.instance, slots.boot, slots.sequence
        heard, deadline, grace, alert = slots.heard, slots.deadline, slots.grace, slots.alert
        now = clock.now
        news: list[News] = []
        for beat in beats:
            place = where.get(beat.machine_id)
            if place is None or place[0] != partition or instance[place[1]] != beat.instance_id:
                news.append(News(beat, partition, is_new_boot=True, is_resumed=False))
                continue
            index = place[1]
            if boot[index] == hash(beat.boot_id):
                if beat.sequence <= sequence[index]:
                    continue
                if gaps is not None and sequence[index] >= 0:
                    gaps.append(now - heard[index])
                is_new_boot = False
            else:
                is_new_boot = True
                boot[index] = hash(beat.boot_id)
            sequence[index] = beat.sequence
            heard[index] = now
            if alert[index] or is_new_boot or (beat.gpu is not None and beat.gpu != "ok"):
                news.append(News(beat, partition, is_new_boot, is_resumed=bool(alert[index])))
                if deadline[index] == inf:
                    continue
            deadline[index] = now + grace[index]
        return news

    def scan(self, partition: int) -> list[Silence]:
        """Who has outlasted the grace period on this partition; each is reported once and then disarmed."""
        slots, now = self._slots[partition], self._clocks[partition].now
        if not slots.deadline:
            return []
        deadlines = np.frombuffer(slots.deadline, dtype=np.float64)
        found = np.flatnonzero(deadlines < now).tolist()
        del deadlines
        return [self._silence(slots, index, now) for index in found]

    def _silence(self, slots: _Slots, index: int, now: float) -> Silence:
        slots.deadline[index] = inf
        slots.alert[index] = 1
        sequence = slots.sequence[index]
        silent_s = now - slots.heard[index]
        return Silence(slots.ids[index], silent_s, slots.grace[index], None if sequence < 0 else sequence)

    def silence_of(self, machine_id: int) -> Silence | None:
        """For how long the machine has been silent in log time, and its grace; None where it is not judged here."""
        partition, index = self._where.get(machine_id, (-1, 0))
        slots, clock = self._slots.get(partition), self._clocks.get(partition)
        if slots is None or clock is None:
            return None
        sequence, silent_s = slots.sequence[index], clock.now - slots.heard[index]
        return Silence(machine_id, silent_s, slots.grace[index], None if sequence < 0 else sequence)

    def sequence_of(self, machine_id: int) -> int | None:
        """Of the last beat that was heard of the machine's primary."""
        place = self._where.get(machine_id)
        found = -1 if place is None else self._slots[place[0]].sequence[place[1]]
        return None if found < 0 else found

    def rearm(self, machine_id: int) -> None:
        """Judge it again later: a silence that was reported while the observer could not be trusted."""
        place = self._where.get(machine_id)
        if place is not None:
            slots, index = self._slots[place[0]], place[1]
            slots.heard[index] = self._clocks[place[0]].now
            slots.deadline[index] = slots.heard[index] + slots.grace[index]

    # -- what may be trusted

    def has_gap(self, partition: int, grace_s: float | None = None) -> bool:
        """Blind by its own history, until one grace period of whole log time lies after the gap. Of a machine with this
        grace; without one, of all that are judged there: one slow agent makes nobody else unseen."""
        clock, slots = self._clocks.get(partition), self._slots.get(partition)
        if clock is None or slots is None:
            return True
        if clock.gap_at is None:
            return False
        wanted = min(slots.grace, default=inf) if grace_s is None else grace_s
        return clock.now - clock.gap_at <= (self._policy.grace_floor_s if wanted == inf else wanted)

    def machines(self) -> int:
        """No more than so many are watched: places that became free count too."""
        return sum(len(slots.ids) for slots in self._slots.values())

    def silent_share(self) -> tuple[int, int]:
        """(silent, judged) over all owned partitions, whatever was already reported.

        Those that have been silent for long are left out: they are no sign that the observer went blind just now.
        """
        silent = judged = 0
        for partition, slots in self._slots.items():
            grace = np.array(slots.grace, dtype=np.float64)
            age = self._clocks[partition].now - np.array(slots.heard, dtype=np.float64)
            counted = (np.array(slots.ids, dtype=np.int64) >= 0) & (age <= 4 * grace)
            judged += int(np.count_nonzero(counted))
            silent += int(np.count_nonzero(counted & (age > grace)))
        return silent, judged

    def primary_of(self, machine_id: int) -> int | None:
        """The instance whose beats count for the machine; None where it is not judged here."""
        place = self._where.get(machine_id)
        return None if place is None else self._slots[place[0]].instance[place[1]]
