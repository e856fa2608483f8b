"""Bad weather: each kind of event, how it begins and how it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from adapters.sim.compute import STOCKOUT, Vm
from adapters.sim.faults import Fault, FaultKind
from adapters.sim.instances import Instance
from adapters.sim.memory_bodies import MemoryBody
from adapters.virtual_clock import spawn
from daemon.simulation.operators import Operators
from events import topics
from events.topics import Message
from machines.errors import LogUnavailable
from machines.ports import Partition

if TYPE_CHECKING:
    from daemon.simulation.replica import Replica
    from daemon.simulation.theatre import Theatre


@dataclass(frozen=True, slots=True)
class Event:
    """One change of weather. `target` is a machine, a replica or a partition by its place, counted round."""

    at_s: float
    kind: str
    target: int = 0
    seconds: float = 0.0
    """How long it lasts; 0 is for ever, where that has a meaning."""
    detail: str = ""
    share: float = 1.0

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.0f} s" if self.seconds else ""
        detail = f" {self.detail}" if self.detail else ""
        share = f" ({self.share:.0%})" if self.share < 1 else ""
        return f"{self.kind} {self.target}{detail}{share}{lasts}"


POISON = (b"\xff\xfe not utf-8", b"{" * 2000, b'{"schema":99}', b"", b'{"machine_id":NaN}', b"x" * 300_000)


class Weather:
    """Conditions may overlap: each lasts until the last event that began it has ended."""

    def __init__(self, theatre: Theatre, seen: Counter[str]) -> None:
        self._theatre, self._seen = theatre, seen
        self._depth: Counter[str] = Counter()
        self._operators = Operators(theatre)

    def begin(self, event: Event) -> None:
        self._seen["weather events"] += 1
        self._seen[f"weather {event.kind}"] += 1
        self._theatre.history.tell("weather", str(event))
        getattr(self, f"_{event.kind}")(event)

    def clear(self) -> None:
        """Calm weather from now on: what is broken for ever stays broken."""
        theatre = self._theatre
        theatre.history.tell("weather", "it is calm")
        self._depth.clear()
        theatre.broker.is_down = theatre.broker.is_mute = False
        theatre.broker.stalled.clear()
        theatre.broker.skew = timedelta(0)
        theatre.air.delays.clear()
        theatre.air.doubles.clear()
        theatre.air.cut.clear()
        theatre.air.garbled.clear()
        theatre.world.world.faults.clear()
        theatre.world.world.compute.exhausted.clear()
        theatre.books.make_pause_readable()
        for weather in (theatre.store_weather, *(replica.store_weather for replica in theatre.replicas)):
            weather.is_down, weather.slow_s, weather.loses_replies = False, 0.0, 0.0
        for replica in theatre.replicas:
            for what in ("broker", "provider", "ssh"):
                replica.cut(what, False)
            replica.break_ssh(0.0)
            replica.clock.skew = timedelta(0)
            replica.thaw()
            if replica.process is None:
                replica.start()
        for body in theatre.world.bodies.of.values():
            theatre.world.world.rentals.lifecycle.thaw(body.instance)
            body.restart_agent()
        theatre.world.carry_out()
        spawn(None, self._operators.resume(), "an operator resumes")

    # -- machines

    def _host_dies(self, event: Event) -> None:
        instance = self._primary(event)
        if instance is not None and instance.host.alive:
            host = instance.host
            self._theatre.world.world.kill_host(host, self._theatre.clock.now())
            self._theatre.world.carry_out()
            if event.seconds:
                self._later(event, lambda: self._theatre.world.world.revive_host(host, self._theatre.clock.now()))

    def _container_crashes(self, event: Event) -> None:
        instance = self._primary(event)
        if instance is not None and instance.serves:
            lifecycle = self._theatre.world.world.rentals.lifecycle
            lifecycle.crash(instance, self._theatre.clock.now(), reboot_helps=event.detail == "reboot helps")
            self._theatre.world.carry_out()

    def _container_freezes(self, event: Event) -> None:
        instance = self._primary(event)
        if instance is not None and instance.serves:
            self._theatre.world.world.rentals.lifecycle.freeze(instance)
            self._theatre.world.carry_out()
            self._later(event, lambda: self._theatre.world.world.rentals.lifecycle.thaw(instance))

    def _rental_ends(self, event: Event) -> None:
        """The provider takes the rental away, without a word."""
        instance = self._primary(event)
        if instance is not None:
            self._theatre.world.world.rentals.destroy(self._theatre.clock.now(), instance.id)
            self._theatre.world.carry_out()

    def _standby_ends(self, event: Event) -> None:
        row = self._theatre.books.machines()[event.target % len(self._theatre.people)]
        if row.standby is not None:
            self._theatre.world.world.rentals.destroy(self._theatre.clock.now(), row.standby)
            self._theatre.world.carry_out()

    def _prepared_ends(self, event: Event) -> None:
        """The provider takes away what stands ready for a machine on another host."""
        row = self._theatre.books.machines()[event.target % len(self._theatre.people)]
        for number in row.prepared[:1]:
            self._theatre.world.world.rentals.destroy(self._theatre.clock.now(), number)
            self._theatre.world.carry_out()

    def _newest_rental_dies(self, event: Event) -> None:
        """A candidate or a fresh replacement crashes before it is used."""
        rented = [one for one in self._theatre.world.world.instances.values() if (one.label or "").startswith("fo-")]
        if rented and rented[-1].is_up and rented[-1].host.alive:
            lifecycle = self._theatre.world.world.rentals.lifecycle
            lifecycle.crash(rented[-1], self._theatre.clock.now(), reboot_helps=False)
            self._theatre.world.carry_out()

    def _gpu_breaks(self, event: Event) -> None:
        instance = self._primary(event)
        if instance is not None and instance.serves:
            self._theatre.world.world.rentals.lifecycle.break_gpu(instance)
            self._theatre.world.carry_out()

    def _agent_dies(self, event: Event) -> None:
        body = self._body(event)
        if body is not None and body.agent is not None:
            body.agent.kill()
            self._later(event, body.restart_agent)

    def _beats_come_late(self, event: Event) -> None:
        body = self._body(event)
        if body is not None:
            delays, number = self._theatre.air.delays, body.instance.id
            delays[number] = 90.0 * event.share
            self._later(event, lambda: delays.pop(number, None))

    def _beats_come_twice(self, event: Event) -> None:
        body = self._body(event)
        if body is not None:
            doubles, number = self._theatre.air.doubles, body.instance.id
            doubles.add(number)
            self._later(event, lambda: doubles.discard(number))

    def _beats_are_cut(self, event: Event) -> None:
        """They do not leave the machine, which serves on."""
        body = self._body(event)
        if body is not None:
            cut, number = self._theatre.air.cut, body.instance.id
            cut.add(number)
            self._later(event, lambda: cut.discard(number))

    # -- the broker

    def _broker_is_down(self, event: Event) -> None:
        self._condition(event, "down", lambda is_on: setattr(self._theatre.broker, "is_down", is_on))

    def _fetches_are_empty(self, event: Event) -> None:
        self._condition(event, "mute", lambda is_on: setattr(self._theatre.broker, "is_mute", is_on))

    def _partition_stalls(self, event: Event) -> None:
        number, stalled = (
            event.target % len(self._theatre.broker.topics[topics.HEARTBEATS]),
            self._theatre.broker.stalled,
        )
        self._condition(
            event, f"stall {number}", lambda is_on: stalled.add(number) if is_on else stalled.discard(number)
        )

    def _group_rebalances(self, event: Event) -> None:
        for group in self._theatre.broker.groups.values():
            group.rebalance()

    def _log_is_replayed(self, event: Event) -> None:
        """A rebalance after which every consumer begins at the oldest record, of the commands too."""
        for group in self._theatre.broker.groups.values():
            group.committed = {Partition(place.topic, place.number): 0 for place in group.committed}
            group.rebalance()

    def _broker_clock_steps(self, event: Event) -> None:
        broker = self._theatre.broker
        broker.skew = timedelta(hours=1) if event.target % 2 else timedelta(hours=-1)
        self._later(event, lambda: setattr(broker, "skew", timedelta(0)))

    def _poison(self, event: Event) -> None:
        for content in POISON:
            key = str(1 + event.target % len(self._theatre.people)).encode()
            for topic in (topics.HEARTBEATS, topics.COMMANDS):
                try:
                    self._theatre.broker.write(Message(topic, content, key))
                except LogUnavailable:
                    continue  # A stalled partition takes no poison either.

    # -- the daemon

    def _replica_is_killed(self, event: Event) -> None:
        replica = self._replica(event)
        replica.kill()
        self._later(event, lambda: replica.start() if replica.process is None else None)

    def _replica_is_frozen(self, event: Event) -> None:
        replica = self._replica(event)
        process = replica.process
        replica.freeze()
        self._later(event, lambda: replica.thaw() if replica.process is process else None)

    def _replica_is_cut(self, event: Event) -> None:
        replica = self._replica(event)
        self._condition(event, f"{replica.name} {event.detail}", lambda is_on: replica.cut(event.detail, is_on))

    def _ssh_breaks(self, event: Event) -> None:
        replica = self._replica(event)
        replica.break_ssh(event.share)
        self._later(event, lambda: replica.break_ssh(0.0))

    def _clock_steps(self, event: Event) -> None:
        replica = self._replica(event)
        replica.clock.skew = timedelta(hours=1) if event.detail == "forward" else timedelta(hours=-1)
        self._later(event, lambda: setattr(replica.clock, "skew", timedelta(0)))

    def _store_is_down(self, event: Event) -> None:
        weather = self._theatre.store_weather if event.detail == "for all" else self._replica(event).store_weather
        self._condition(event, f"store {id(weather)}", lambda is_on: setattr(weather, "is_down", is_on))

    def _store_is_slow(self, event: Event) -> None:
        weather = self._theatre.store_weather
        weather.slow_s = 4.0 * event.share
        self._later(event, lambda: setattr(weather, "slow_s", 0.0))

    def _store_loses_replies(self, event: Event) -> None:
        weather = self._theatre.store_weather
        weather.loses_replies = event.share
        self._later(event, lambda: setattr(weather, "loses_replies", 0.0))

    def _pause_is_unreadable(self, event: Event) -> None:
        self._theatre.books.make_pause_unreadable()
        self._later(event, self._theatre.books.make_pause_readable)

    # -- the provider

    def _provider_fails(self, event: Event) -> None:
        """`detail` is "kind operation status"."""
        kind, operation, status = event.detail.split()
        fault = Fault(FaultKind(kind), operation, status=int(status), seconds=20.0, probability=event.share)
        self._theatre.world.world.faults.order(fault, self._theatre.clock.now(), event.seconds)

    def _vm_provider_fails(self, event: Event) -> None:
        self._provider_fails(event)

    def _zone_is_exhausted(self, event: Event) -> None:
        compute, zones = self._theatre.world.world.compute, self._theatre.world.world.settings.vm_zones
        zone = zones[event.target % len(zones)]
        self._condition(
            event,
            f"zone {zone}",
            lambda is_on: compute.exhausted.update({zone: STOCKOUT}) if is_on else compute.exhausted.pop(zone, None),
        )

    def _vm_is_reclaimed(self, event: Event) -> None:
        vm = self._vm(event)
        if vm is not None and vm.status == "RUNNING":
            self._theatre.world.world.compute.preempt(self._theatre.clock.now(), vm)
            self._theatre.world.carry_out()

    def _vm_is_deleted(self, event: Event) -> None:
        """By somebody in the provider's console."""
        vm = self._vm(event)
        if vm is not None:
            self._theatre.world.world.compute.delete(self._theatre.clock.now(), vm, {})
            self._theatre.world.carry_out()

    def _vm(self, event: Event) -> Vm | None:
        vms = list(self._theatre.world.world.compute.vms.values())
        return vms[event.target % len(vms)] if vms else None

    # -- people

    def _operator(self, event: Event) -> None:
        """`detail` is a command; `share` below 1 sends it more than once, through both doors. A cancel is for a machine that is
        in a failover, where one is: to the others it says nothing."""
        people = self._theatre.people
        running = {row.machine for row in self._theatre.books.failovers(())} if event.detail == "cancel" else set()
        meant = [place for place, person in enumerate(people) if int(person.id) in running] or range(len(people))
        target = meant[event.target % len(meant)]
        spawn(None, self._operators.send(event.detail, target, event.share < 1), f"an operator: {event.detail}")

    # -- shared

    def _primary(self, event: Event) -> Instance | None:
        body = self._body(event)
        return body.instance if body is not None else None

    def _body(self, event: Event) -> MemoryBody | None:
        machines = self._theatre.books.machines()
        primary = machines[event.target % len(machines)].primary if machines else None
        return self._theatre.world.bodies.of.get(primary or 0)

    def _replica(self, event: Event) -> Replica:
        return self._theatre.replicas[event.target % len(self._theatre.replicas)]

    def _condition(self, event: Event, name: str, switch: Callable[[bool], object]) -> None:
        self._depth[name] += 1
        switch(True)

        def end() -> None:
            self._depth[name] -= 1
            if self._depth[name] <= 0:
                switch(False)

        self._later(event, end)

    def _later(self, event: Event, act: Callable[[], object]) -> None:
        async def wait() -> None:
            await self._theatre.clock.sleep(event.seconds)
            act()
            self._theatre.world.carry_out()
            self._theatre.history.tell("weather", f"over: {event}")

        spawn(None, wait(), f"the end of {event.kind}")
