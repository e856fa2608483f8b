"""What can happen, in the words of the scenario files; each is said of the theatre that plays it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from adapters.sim.faults import Fault, FaultKind
from adapters.sim.instances import Instance
from adapters.sim.memory_bodies import MemoryBody
from adapters.virtual_clock import spawn
from daemon.asked import Asked
from daemon.simulation.replica import Replica
from daemon.simulation.weather import Event
from events import codec, topics
from events.schema import Command, Heartbeat
from events.topics import Message
from machines.problems import Problem
from tests.scenarios.script import Unreadable, numbers, seconds

if TYPE_CHECKING:
    from tests.scenarios.stage import Stage

Act = Callable[..., object]
PHRASES: list[tuple[re.Pattern[str], Act]] = []
_SHORT = {"NUMBERS": r"([\d,\- ]+)", "NUMBER": r"(\d+)", "TIME": r"([+-]?\d+ ?(?:s|min|h))"}


def says(text: str) -> Callable[[Act], Act]:
    """The act is called with what stands in the places of the phrase."""
    for short, pattern in _SHORT.items():
        text = re.sub(rf"\b{short}\b", lambda _, found=pattern: found, text)

    def keep(act: Act) -> Act:
        PHRASES.append((re.compile(text + "$"), act))
        return act

    return keep


def act(stage: Stage, what: str) -> None:
    """Make it happen. Raise Unreadable."""
    for pattern, made in PHRASES:
        found = pattern.match(what)
        if found is not None:
            made(stage, *found.groups())
            stage.theatre.world.carry_out()
            return
    raise Unreadable(f"nobody knows what it means that {what!r}")


# -- the broker


@says("broker (stops|starts)")
def _broker(stage: Stage, what: str) -> None:
    stage.theatre.broker.is_down = what == "stops"


@says("polls (are empty|bring records)")
def _polls(stage: Stage, what: str) -> None:
    stage.theatre.broker.is_mute = what == "are empty"


@says("partition of machine NUMBER (stalls|flows)")
def _partition(stage: Stage, number: str, what: str) -> None:
    broker = stage.theatre.broker
    partitions = len(broker.topics[topics.HEARTBEATS])
    place = broker._number(Message(topics.HEARTBEATS, b"", number.encode()), partitions)
    (broker.stalled.add if what == "stalls" else broker.stalled.discard)(place)


@says("group rebalances")
def _rebalance(stage: Stage) -> None:
    stage.weather.begin(Event(0, "group_rebalances"))


@says("log is replayed")
def _replay(stage: Stage) -> None:
    stage.weather.begin(Event(0, "log_is_replayed"))


@says("broker's clock steps by TIME")
def _broker_clock(stage: Stage, by: str) -> None:
    stage.theatre.broker.skew += _delta(by)


@says("poison comes for machine NUMBER")
def _poison(stage: Stage, number: str) -> None:
    stage.weather.begin(Event(0, "poison", int(number) - 1))


# -- machines and their agents


@says("hosts? of machines? NUMBERS (?:dies|die)")
def _host_dies(stage: Stage, which: str) -> None:
    for number in numbers(which):
        instance = _instance(stage, number)
        if instance is not None and instance.host.alive:
            stage.hosts[number] = instance.host
            stage.theatre.world.world.kill_host(instance.host, stage.theatre.clock.now())


@says("hosts? of machines? NUMBERS returns?")
def _host_returns(stage: Stage, which: str) -> None:
    for number in numbers(which):
        stage.theatre.world.world.revive_host(stage.hosts[number], stage.theatre.clock.now())


@says("containers? of machines? NUMBERS crash(?:es)?(, a reboot helps)?")
def _crash(stage: Stage, which: str, helps: str | None) -> None:
    for number in numbers(which):
        stage.weather.begin(Event(0, "container_crashes", number - 1, 0, "reboot helps" if helps else ""))


@says("machines? NUMBERS (freezes?|thaws?)")
def _freeze(stage: Stage, which: str, what: str) -> None:
    lifecycle = stage.theatre.world.world.rentals.lifecycle
    for number in numbers(which):
        if what.startswith("freeze"):
            stage.frozen[number] = _known(_instance(stage, number))
            lifecycle.freeze(stage.frozen[number])
        else:
            lifecycle.thaw(stage.frozen[number])


@says("agents? of machines? NUMBERS (dies?|starts?)")
def _agent(stage: Stage, which: str, what: str) -> None:
    for number in numbers(which):
        body = _body(stage, number)
        if body is not None and body.agent is not None:
            if what.startswith("die"):
                body.agent.kill()
            else:
                body.restart_agent()


@says("beats of machines? NUMBERS (are lost|arrive|are garbled|can be read|come twice|come once)")
def _beats(stage: Stage, which: str, what: str) -> None:
    air = stage.theatre.air
    sets = {"are lost": air.cut, "arrive": air.cut, "are garbled": air.garbled, "can be read": air.garbled}
    kept = sets.get(what, air.doubles)
    change = kept.add if what in ("are lost", "are garbled", "come twice") else kept.discard
    for number in numbers(which):
        change(_known(_instance(stage, number)).id)


@says("beats of machines? NUMBERS come up to TIME late")
def _late(stage: Stage, which: str, by: str) -> None:
    for number in numbers(which):
        stage.theatre.air.delays[_known(_instance(stage, number)).id] = seconds(by)


@says("beats of machines? NUMBERS come in time")
def _in_time(stage: Stage, which: str) -> None:
    for number in numbers(which):
        stage.theatre.air.delays.pop(_known(_instance(stage, number)).id, None)


@says("first instance of machine NUMBER beats")
def _old_beats(stage: Stage, number: str) -> None:
    """From the incarnation with which the story began, with a higher sequence than it ever had."""
    person = stage.theatre.people[int(number) - 1]
    beat = Heartbeat(
        int(number), int(person.instance), stage.boots[int(number)], 1_000_000, stage.theatre.plan.interval_s
    )
    stage.theatre.broker.write(Message(topics.HEARTBEATS, codec.encode(beat), number.encode()))


@says("gpu of machine NUMBER breaks")
def _gpu(stage: Stage, number: str) -> None:
    stage.weather.begin(Event(0, "gpu_breaks", int(number) - 1))


@says("rental of machine NUMBER ends")
def _rental(stage: Stage, number: str) -> None:
    stage.weather.begin(Event(0, "rental_ends", int(number) - 1))


@says("standby of machine NUMBER ends")
def _standby(stage: Stage, number: str) -> None:
    stage.weather.begin(Event(0, "standby_ends", int(number) - 1))


@says("machine NUMBER is outbid, for TIME")
def _outbid(stage: Stage, number: str, lasts: str) -> None:
    """Its rental is one by bid, and somebody bids more: it is stopped, and started again by the provider itself."""
    instance, now = _known(_instance(stage, int(number))), stage.theatre.clock.now()
    instance.bid = 0.01
    stage.theatre.world.world.rentals.lifecycle.preempt(instance, now, seconds(lasts))


@says("snapshots of machine NUMBER are damaged")
def _snapshots(stage: Stage, number: str) -> None:
    """What a restore gives is not what the manifest names."""
    world, files = stage.theatre.world.world, stage.theatre.world.bodies._snapshots
    for snapshot in world.snapshots.of_machine(number):
        files[snapshot.id].update({path: content + b"?" for path, content in files[snapshot.id].items()})


@says("volume of machine NUMBER is emptied")
def _emptied(stage: Stage, number: str) -> None:
    volume = stage.theatre.people[int(number) - 1].volume
    assert volume is not None, "the machine has no volume"
    stage.theatre.world.bodies._volumes[volume].clear()


@says("newest rental (crashes|loses its host)")
def _newest(stage: Stage, what: str) -> None:
    world, now = stage.theatre.world.world, stage.theatre.clock.now()
    rented = [one for one in world.instances.values() if (one.label or "").startswith("fo-")]
    if what == "crashes":
        world.rentals.lifecycle.crash(rented[-1], now, reboot_helps=False)
    else:
        world.kill_host(rented[-1].host, now)


# -- the daemon


@says("replica NUMBER (freezes|thaws|is killed|starts)")
def _replica(stage: Stage, number: str, what: str) -> None:
    replica = stage.theatre.replicas[int(number)]
    acts: dict[str, Callable[[Replica], None]] = {
        "freezes": Replica.freeze,
        "thaws": Replica.thaw,
        "is killed": Replica.kill,
        "starts": Replica.start,
    }
    acts[what](replica)


@says("worker of machine NUMBER (freezes|thaws|is killed|starts)")
def _worker(stage: Stage, number: str, what: str) -> None:
    """Whichever replica holds the lease of the machine's failover; the same one until the next is named."""
    if what in ("freezes", "is killed"):
        stage.workers[int(number)] = _holder(stage, int(number))
    _replica(stage, str(stage.theatre.replicas.index(stage.workers[int(number)])), what)


@says("replica NUMBER (loses|reaches) the (broker|provider|ssh|database)")
def _cut(stage: Stage, number: str, what: str, from_whom: str) -> None:
    replica = stage.theatre.replicas[int(number)]
    if from_whom == "database":
        replica.store_weather.is_down = what == "loses"
    else:
        replica.cut(from_whom, what == "loses")


@says("worker of machine NUMBER (loses|reaches) the (broker|provider|ssh|database)")
def _cut_worker(stage: Stage, number: str, what: str, from_whom: str) -> None:
    if what == "loses":
        stage.workers[int(number)] = _holder(stage, int(number))
    _cut(stage, str(stage.theatre.replicas.index(stage.workers[int(number)])), what, from_whom)


def _holder(stage: Stage, number: int) -> Replica:
    row = next(row for row in stage.theatre.books.machines() if row.id == number)
    holder = stage.theatre.books.lease_holder(row.failover or "")
    return next(one for one in stage.theatre.replicas if one.name == holder)


@says("clock of replica NUMBER steps by TIME")
def _clock(stage: Stage, number: str, by: str) -> None:
    stage.theatre.replicas[int(number)].clock.skew += _delta(by)


@says("database (stops|answers)")
def _database(stage: Stage, what: str) -> None:
    stage.theatre.store_weather.is_down = what == "stops"


@says("database takes up to TIME")
def _slow(stage: Stage, most: str) -> None:
    stage.theatre.store_weather.slow_s = seconds(most)


@says("NUMBER % of the commits lose their answers")
def _replies(stage: Stage, share: str) -> None:
    stage.theatre.store_weather.loses_replies = int(share) / 100


@says("pause flag (cannot|can) be read")
def _flag(stage: Stage, what: str) -> None:
    books = stage.theatre.books
    (books.make_pause_unreadable if what == "cannot" else books.make_pause_readable)()


@says("database (becomes read-only|can be written)")
def _read_only(stage: Stage, what: str) -> None:
    _pragma(stage, f"query_only={'OFF' if what == 'can be written' else 'ON'}")


@says("disk (is full|has room)")
def _disk(stage: Stage, what: str) -> None:
    """No page can be added to the file; what fits into those that it has is still written."""
    _pragma(stage, f"max_page_count={1 if what == 'is full' else 1_073_741_823}")


def _pragma(stage: Stage, setting: str) -> None:
    stage.theatre.sql.driver().execute(f"PRAGMA {setting}").fetchall()


@says("record of machine NUMBER (is garbled|is mended)")
def _record(stage: Stage, number: str, what: str) -> None:
    """Half of a nested value is left, as on a page that came back otherwise than it was written."""
    driver = stage.theatre.sql.driver()
    (workload,) = driver.execute("SELECT workload FROM machines WHERE id = ?", (int(number),)).fetchone()
    changed = workload[: len(workload) // 2] if what == "is garbled" else stage.records[int(number)]
    stage.records.setdefault(int(number), workload)
    driver.execute("UPDATE machines SET workload = ? WHERE id = ?", (changed, int(number)))


# -- the provider, and people


@says(r"provider: (\w+) (\S+) ?(\d*)(?:, NUMBER times)?(?:, for TIME)?")
def _provider(stage: Stage, kind: str, operation: str, status: str, times: str | None, lasts: str | None) -> None:
    fault = Fault(
        FaultKind(kind), operation, status=int(status or 0), seconds=20.0, count=int(times) if times else None
    )
    stage.theatre.world.world.faults.order(fault, stage.theatre.clock.now(), seconds(lasts) if lasts else 36_000.0)


@says("provider is well")
def _provider_well(stage: Stage) -> None:
    stage.theatre.world.world.faults.clear()


@says("operator: (failover late|[a-z]+)(?: machine NUMBER)?(, again and again)?")
def _operator(stage: Stage, command: str, number: str | None, repeats: str | None) -> None:
    place = int(number or 1) - 1
    spawn(None, stage.operators.send(command, place, repeats is not None), f"an operator: {command}")


@says("operator: failover of unknown machine NUMBER")
def _unknown(stage: Stage, number: str) -> None:
    _ask(stage, f"of-{number}", int(number), {})


@says("operator: failover machine NUMBER under the key (\\S+)( with cpu_standby)?")
def _under_a_key(stage: Stage, number: str, key: str, otherwise: str | None) -> None:
    _ask(stage, key, int(number), {"strategy": "cpu_standby"} if otherwise else {})


def _ask(stage: Stage, key: str, machine: int, arguments: dict[str, object]) -> None:
    command = Command("failover", command_id=key, machine_id=machine, reason="a scenario", arguments=arguments)

    async def submit(replica: Replica) -> str:
        assert replica.daemon is not None
        now = replica.clock.now()
        try:
            accepted = await replica.daemon.commands.submit(Asked(command, "http", "an operator", now, now))
        except Problem as problem:
            return f"refused: {problem.code}: {problem.detail}"
        return f"accepted: {accepted.failover_id}"

    async def ask() -> None:
        answer = await stage.theatre.ask(submit)
        stage.theatre.history.tell("operator", f"failover {machine} ({key}): {answer}")

    spawn(None, ask(), f"an operator: {key}")


# -- shared


def _body(stage: Stage, number: int) -> MemoryBody | None:
    row = next(row for row in stage.theatre.books.machines() if row.id == number)
    return stage.theatre.world.bodies.of.get(row.primary or 0)


def _instance(stage: Stage, number: int) -> Instance | None:
    body = _body(stage, number)
    return body.instance if body is not None else None


def _known(instance: Instance | None) -> Instance:
    assert instance is not None, "the machine's instance does not exist"
    return instance


def _delta(text: str) -> timedelta:
    sign = -1 if text.startswith("-") else 1
    return timedelta(seconds=sign * seconds(text.lstrip("+-")))
