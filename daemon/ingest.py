"""The log to the detector, in batches: only what CHANGES goes on to the loop.

A batch is decoded, stored in arrays, and forgotten; ticks prove the path. A blind observer reports no silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from events import codec
from events.codec import Undecodable
from events.schema import Heartbeat, Notice, Tick
from machines.detector import Detector, News, Silence
from machines.errors import LogUnavailable
from machines.failover import Faulted, Heard, Noticed, Signal, Silenced
from machines.model import InstanceId, Machine, MachineId, Source
from machines.policy import Policies
from machines.ports import Beat, Clock, EventLog, Partition, Record
from machines.states import State

log = structlog.get_logger(__name__)

_MOST_STRANGERS = 10_000
_MOST_BOOTS = 8
_MOST_TOLD = 300
"""Of what a notice says in its own words, in characters."""


class Sink(Protocol):
    """Where news goes: the loop."""

    def post(self, machine_id: MachineId, signal: Signal) -> None: ...
    def meet(self, beat: Heartbeat, partition: int, is_live: bool) -> None:
        """A machine that this process does not judge spoke."""
        ...

    def dead_letter(self, record: Record, cause: Undecodable) -> None: ...
    def blindness(self, partitions: Sequence[int], because: str | None) -> None:
        """The observer went blind (or sees again, with None)."""
        ...

    def is_idle(self) -> bool: ...


@dataclass(slots=True)
class _Path:
    """What the ticks say of one partition; monotonic seconds of this process."""

    owned_at: float
    tick_back_at: float | None = None
    behind_since: float | None = None
    history_until: int | None = None
    """The first offset that was appended after we began to judge the partition."""
    is_late: bool = False
    """We stood still: what is read next may be old."""
    late_until: int = 0
    """The first offset that was appended after we had stood still: beats before it say nothing of now."""


@dataclass(frozen=True, slots=True)
class LogTime:
    """How the log's own time of day relates to our clock: a broker's is never scaled, the embedded log's is."""

    speed: float = 1.0
    to_log: Callable[[datetime], datetime] = lambda time: time


@dataclass(frozen=True, slots=True)
class IngestSettings:
    topic: str
    partitions: int
    group: str = "failoverd"
    tick_every_s: float = 1.0
    scan_every_s: float = 0.1
    commit_every_s: float = 5.0
    blind_after_s: float = 3.0
    log_time: LogTime = LogTime()


class Ingest:
    """Owns the partitions of the heartbeat topic that the consumer group gives it."""

    def __init__(
        self,
        settings: IngestSettings,
        event_log: EventLog,
        detector: Detector,
        policies: Policies,
        clock: Clock,
        daemon_id: str,
        sink: Sink,
    ) -> None:
        self._settings = settings
        self._log = event_log
        self._detector = detector
        self._policies = policies
        self._clock = clock
        self._daemon_id = daemon_id
        self._sink = sink
        self._consumer = event_log.consumer(settings.group, settings.topic)
        self._paths: dict[int, _Path] = {}
        self._beats: dict[InstanceId, Beat] = {}
        self._boots: dict[InstanceId, dict[str, float]] = {}
        """Each life of the agent, and the monotonic second to which its last live beat speaks for it."""
        self._machines: Callable[[], Sequence[Machine]] = tuple
        self._fresh: list[int] = []
        self._last_loop = clock.monotonic()
        self._owned_at = clock.monotonic()
        self._blind_now: str | None = None
        self._blind_at = float("-inf")
        """When it went blind, or saw again, last."""
        self._processed: dict[Partition, int] = {}
        self._stands_back = self._has_left = False
        self.beats = {True: 0, False: 0}
        """How many were heard: live ones, and those that were read back or came late."""
        self.on_gaps: Callable[[Sequence[float]], object] = lambda gaps: None
        """Hears of the seconds between live beats, as they come."""

    # -- what others ask

    def know(self, machines: Callable[[], Sequence[Machine]]) -> None:
        """Where to read all machines from when partitions are assigned."""
        self._machines = machines

    def boots(self, instance: InstanceId, only_live: bool) -> frozenset[str]:
        """The agent's lives that were heard, the last ones; `only_live`: those that are not silent for their grace by now, and
        were not only read back."""
        now = self._clock.monotonic()
        heard = self._boots.get(instance, {})
        return frozenset(boot for boot, lives_until in heard.items() if lives_until >= now or not only_live)

    def heard(self, instance: InstanceId) -> Beat | None:
        return self._beats.get(instance)

    @property
    def blindness(self) -> str | None:
        """Why this replica trusts no silence at all now; None where it sees."""
        return self._blind_now

    def owns(self, machine: Machine) -> bool:
        """Is it this replica that judges the machine's silence?"""
        return self._partition_for(machine) in self._paths

    def lags(self) -> dict[int, int]:
        """How many records each of our partitions is behind; without those of which that is not known."""
        places = {number: Partition(self._settings.topic, number) for number in self._paths}
        known = {number: (self._consumer.position(at), self._consumer.highwater(at)) for number, at in places.items()}
        return {number: max(0, end - at) for number, (at, end) in known.items() if at is not None and end is not None}

    @property
    def has_left(self) -> bool:
        """Are all partitions left to the group's other members?"""
        return self._has_left

    @property
    def owns_nothing(self) -> bool:
        """No partition is ours: the broker is away, or there are more replicas than partitions."""
        return not self._paths

    @property
    def blind_for_s(self) -> float | None:
        """For how long nothing is trusted; None while all is heard."""
        return None if self._blind_now is None else self._clock.monotonic() - self._blind_at

    @property
    def _trusted_for_s(self) -> float:
        return 0.0 if self._blind_now is not None else self._clock.monotonic() - self._blind_at

    def is_blind(self, machine: Machine) -> str | None:
        """Why this machine's silence cannot be judged now."""
        partition = self._partition_for(machine)
        if partition not in self._paths:
            return "its partition is not owned by this replica"
        grace_s = self._policies.of(machine).grace_s(machine.interval_s)
        return self._path_fault(partition, grace_s) or self._mass_silence()

    def follow(self, machine: Machine) -> None:
        """Judge the machine as its saved state says."""
        partition = self._partition_for(machine)
        if machine.primary is None:
            self._detector.forget(machine.id)
            return
        alert = machine.state is not State.HEALTHY
        self._detector.arm(
            machine.id,
            partition,
            machine.primary,
            machine.interval_s,
            alert=alert,
            boot_id=machine.boot_id,
            sequence=machine.last_sequence,
            grace_s=self._policies.of(machine).grace_s(machine.interval_s),
        )
        if machine.state not in (State.HEALTHY, State.RECOVERED) or machine.failover is not None:
            self._detector.disarm(machine.id)

    def forget(self, machine: MachineId) -> None:
        self._detector.forget(machine)

    def silence_of(self, machine: MachineId) -> Silence | None:
        """As this replica hears it; None where it does not judge the machine."""
        return self._detector.silence_of(machine)

    def _partition_for(self, machine: Machine) -> int:
        """The partition on which it last spoke; at first by its id."""
        count = self._settings.partitions
        if machine.partition is not None and machine.partition < count:
            return machine.partition
        return int(machine.id) % count

    def stand_back(self, stands_back: bool) -> None:
        """Leave all partitions to the group's other members, from now on or no more."""
        self._stands_back = stands_back

    # -- the tasks

    async def run(self) -> None:
        """Until cancelled."""
        self._consumer.on_change(self._on_assigned, self._on_revoked)
        await self._consumer.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._consume())
                group.create_task(self._tick())
                group.create_task(self._scan())
                group.create_task(self._commit())
        finally:
            await self._consumer.stop()

    def _on_assigned(self, partitions: frozenset[Partition]) -> None:
        now = self._clock.monotonic()
        for number in sorted(partition.number for partition in partitions):
            self._paths[number] = _Path(now)
            self._detector.own(number)
            self._fresh.append(number)

    def _on_revoked(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            self._paths.pop(partition.number, None)
            self._detector.disown(partition.number)

    async def _consume(self) -> None:
        while True:
            if self._stands_back != self._has_left:
                await self._leave_or_join()
            if self._has_left:
                await self._clock.sleep(self._clock.real(0.5))
                continue
            try:
                await self._take_over()
                batches = await self._consumer.poll(500, 0.2)
            except LogUnavailable as error:
                log.debug("log_unavailable", error=str(error))
                await self._clock.sleep(self._clock.real(0.5))
                continue
            if self._clock.monotonic() - self._last_loop > self._settings.blind_after_s:
                self._stood_still()
            for partition, records in batches.items():
                # What was fetched between an assignment and its taking over comes again behind the history: read first, it
                # would make all of that look as if it had been read, and every silence would begin anew.
                if partition.number in self._paths and partition.number not in self._fresh:
                    self._take(partition.number, records)
                    self._processed[partition] = records[-1].offset + 1
            self._last_loop = self._clock.monotonic()
            await self._clock.breathe()

    async def _leave_or_join(self) -> None:
        self._has_left = self._stands_back
        if self._has_left:
            await self._consumer.stop()
            self._fresh, self._processed = [], {}
        else:
            self._last_loop = self._owned_at = self._clock.monotonic()
            await self._consumer.start()

    def _stood_still(self) -> None:
        for path in self._paths.values():
            path.is_late = True

    async def _take_over(self) -> None:
        """Read back twice the grace period of every newly assigned partition, and judge its machines from there. Raise
        LogUnavailable where that could not be begun for all: the rest is taken over at the next call, before anything is
        read. A partition that was forgotten here would be watched by nobody until the next rebalance."""
        fresh, self._fresh = list(dict.fromkeys(self._fresh)), []
        if not fresh:
            return
        machines = self._machines()
        back = 2 * max((self._policies.of(machine).grace_s(machine.interval_s) for machine in machines), default=60.0)
        since = self._settings.log_time.to_log(self._clock.now() - timedelta(seconds=back))
        for machine in machines:
            if self._partition_for(machine) in fresh:
                self.follow(machine)
        for index, number in enumerate(fresh):
            if number not in self._paths:
                continue
            try:
                await self._consumer.rewind(Partition(self._settings.topic, number), since)
            except LogUnavailable:
                self._fresh = [*fresh[index:], *self._fresh]
                raise

    # -- the hot path

    def _take(self, partition: int, records: Sequence[Record]) -> None:
        """One batch of one partition, cut where log time runs on: a beat is stored at the time it was appended."""
        clock, path = self._detector.clock(partition), self._paths[partition]
        history_until = self._history_until(partition, path, records[-1].offset + 1)
        old_until = max(history_until, path.late_until)
        step = clock.limits.max_step_s / 2
        scale = self._settings.log_time.speed / 1000
        chunk: list[Heartbeat] = []
        chunk_from = records[0].timestamp * scale
        for record in records:
            appended = record.timestamp * scale
            if record.offset < clock.next_offset:
                continue
            if chunk and (appended - chunk_from > step or record.offset == old_until):
                self._hear(partition, chunk, record.offset > old_until)
                chunk = []
                chunk_from = appended
            clock.advance(record.offset, appended)
            if record.key is None and codec.is_tick(record.key, record.headers):
                self._take_tick(partition, record)
                continue
            try:
                event = codec.decode_from_machine(record.value)
            except Undecodable as cause:
                self._sink.dead_letter(record, cause)
                continue
            if isinstance(event, Notice):
                if chunk:  # What was said before it was said before it.
                    self._hear(partition, chunk, record.offset > old_until)
                    chunk = []
                    chunk_from = appended
                if record.offset >= history_until:
                    self._take_notice(event)
            else:
                chunk.append(event)
        if chunk:
            self._hear(partition, chunk, records[-1].offset >= old_until)

    def _history_until(self, partition: int, path: _Path, read_until: int) -> int:
        """Where what was appended before we judged the partition ends; and where what we are late with ends."""
        if path.history_until is not None and not path.is_late:
            return path.history_until
        highwater = self._consumer.highwater(Partition(self._settings.topic, partition))
        end = read_until if highwater is None else highwater
        if path.history_until is None:
            path.history_until = end
        path.is_late, path.late_until = False, end
        return path.history_until

    def _hear(self, partition: int, beats: list[Heartbeat], is_live: bool) -> None:
        """Live beats were appended while we judged, and just now; what is read back from before, or long after, tells where
        each machine stood."""
        self.beats[is_live] += len(beats)
        gaps: list[float] | None = [] if is_live else None
        for news in self._detector.hear(partition, beats, gaps):
            self._take_news(news, is_live)
        if gaps:
            self.on_gaps(gaps)

    def _take_news(self, news: News, is_live: bool) -> None:
        beat = news.beat
        machine, instance = MachineId(beat.machine_id), InstanceId(beat.instance_id)
        self._remember(instance, beat, is_live)
        if self._detector.primary_of(machine) != instance or self._detector.partition_of(machine) != news.partition:
            self._sink.meet(beat, news.partition, is_live)
        elif beat.gpu is not None and beat.gpu != "ok":
            if is_live:
                self._sink.post(machine, Faulted(instance, beat.gpu))
        else:
            heard = Heard(instance, beat.boot_id, beat.interval_s, news.partition, is_live, self._trusted_for_s)
            self._sink.post(machine, heard)

    def _remember(self, instance: InstanceId, beat: Heartbeat, is_live: bool) -> None:
        boots = self._boots.setdefault(instance, {})
        speaks_until = (
            self._clock.monotonic() + self._policies.fleet.grace_s(beat.interval_s) if is_live else float("-inf")
        )
        boots[beat.boot_id] = max(speaks_until, boots.get(beat.boot_id, speaks_until))
        if len(boots) > _MOST_BOOTS:
            del boots[next(iter(boots))]
        self._beats.pop(instance, None)
        self._beats[instance] = Beat(beat.boot_id, beat.sequence)
        if len(self._beats) > _MOST_STRANGERS:
            oldest = next(iter(self._beats))
            del self._beats[oldest], self._boots[oldest]

    def _take_notice(self, notice: Notice) -> None:
        """Only a live one: what is read back was announced before, and an agent may long have begun again."""
        what = f"{notice.what} {notice.detail}".strip()[:_MOST_TOLD]
        machine, instance = MachineId(notice.machine_id), InstanceId(notice.instance_id)
        sequence = self._detector.sequence_of(machine) if self._detector.primary_of(machine) == instance else None
        self._sink.post(machine, Noticed(instance, Source.NOTICE, what, sequence))

    def _take_tick(self, partition: int, record: Record) -> None:
        try:
            tick = codec.decode_tick(record.value)
        except Undecodable as cause:
            self._sink.dead_letter(record, cause)
            return
        path = self._paths[partition]
        if tick.daemon == self._daemon_id and tick.sent >= path.owned_at:
            path.tick_back_at = self._clock.monotonic()

    # -- ticks, scan, commit

    async def _tick(self) -> None:
        while True:
            ticks = [
                codec.tick_message(
                    self._settings.topic,
                    number,
                    Tick(self._daemon_id, self._consumer.generation(), self._clock.monotonic()),
                )
                for number in self._paths
            ]
            try:
                await self._log.append_all(ticks)
            except LogUnavailable as error:
                log.debug("tick_not_appended", error=str(error))
            await self._clock.sleep(self._settings.tick_every_s)

    async def _scan(self) -> None:
        while True:
            await self._clock.sleep(max(self._settings.scan_every_s, self._clock.real(0.05)))
            self._judge_paths()
            for number in tuple(self._paths):
                found = self._detector.scan(number)
                if found:
                    self._report(number, found)

    def _report(self, partition: int, found: Sequence[Silence]) -> None:
        for silence in found:
            if self._path_fault(partition, silence.grace_s) is not None:
                self._detector.rearm(silence.machine_id)
            else:
                machine = MachineId(silence.machine_id)
                self._sink.post(machine, Silenced(silence.silent_s, silence.grace_s, silence.sequence))

    def _judge_paths(self) -> None:
        faults = {number: fault for number in self._paths if (fault := self._path_fault(number))}
        because = self._unowned() or next(iter(faults.values()), None) or self._mass_silence()
        if because is None and any(path.tick_back_at is None for path in self._paths.values()):
            because = self._blind_now  # History may still show a gap; our first tick comes behind all of it.
        if (because is None) != (self._blind_now is None):
            self._sink.blindness(tuple(faults), because)
            self._blind_at = self._clock.monotonic()
        self._blind_now = because

    def _unowned(self) -> str | None:
        """A client that lost its broker loses its partitions too: without any, nothing is heard at all."""
        now = self._clock.monotonic()
        if self._has_left:
            return None
        if self._paths:
            self._owned_at = now
        if now - self._owned_at > self._settings.blind_after_s:
            return "no partition is assigned to us"
        return self._blind_now if not self._paths else None

    def _path_fault(self, partition: int, grace_s: float | None = None) -> str | None:
        """Why nothing that is missing on this partition means anything now, for a machine with this grace or for all."""
        path = self._paths.get(partition)
        if path is None:
            return "the partition is not ours"
        now = self._clock.monotonic()
        limit = self._settings.blind_after_s
        if now - (path.tick_back_at if path.tick_back_at is not None else path.owned_at) > limit:
            return f"our own ticks do not come back on partition {partition}"
        if now - self._last_loop > limit:
            return "our own consumer stands still"
        if self._is_behind(partition, path, now):
            return f"we lag behind on partition {partition}"
        if self._detector.has_gap(partition, grace_s):
            return f"the history of partition {partition} has a gap"
        return None

    def _is_behind(self, partition: int, path: _Path, now: float) -> bool:
        place = Partition(self._settings.topic, partition)
        position, highwater = self._consumer.position(place), self._consumer.highwater(place)
        if position is None or highwater is None or position >= highwater:
            path.behind_since = None
            return False
        if path.behind_since is None:
            path.behind_since = now
        return now - path.behind_since > self._settings.blind_after_s

    def _mass_silence(self) -> str | None:
        if self._detector.machines() < self._policies.fleet.mass_silence_fleet:
            return None
        silent, judged = self._detector.silent_share()
        if (
            judged >= self._policies.fleet.mass_silence_fleet
            and silent > judged * self._policies.fleet.mass_silence_fraction
        ):
            return f"{silent} of {judged} machines fell silent at once: that is rather us than them"
        return None

    async def _commit(self) -> None:
        """By time, and only when the loop has made everything durable that was read before."""
        while True:
            await self._clock.sleep(self._settings.commit_every_s)
            if not self._processed or not self._sink.is_idle():
                continue
            offsets, self._processed = self._processed, {}
            try:
                await self._consumer.commit(offsets)
            except LogUnavailable as error:
                log.debug("commit_failed", error=str(error))
