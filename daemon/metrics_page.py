"""/metrics as one page: what was counted, and how everything stands at this moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from adapters.vast import Circuit, CircuitState
from daemon.credit import CreditWatch
from daemon.event_feed import EventFeed
from daemon.ingest import Ingest
from daemon.leases import Leases
from daemon.loop import Loop
from daemon.metrics import Meters
from daemon.publisher import Publisher
from daemon.readiness import ReadinessPoll
from events import topics
from machines.admission import Pause
from machines.lease import FLEET
from machines.lost import LostKind, LostThing, Standing
from machines.model import Machine, Mode, WaitsFor
from machines.ports import Clock
from machines.states import State

MOST_MACHINES = 1000
"""Of a larger fleet only sums are told: a series for each machine and state would be more than Prometheus wants."""
_PROVIDERS = {LostKind.INSTANCE: "vast", LostKind.VOLUME: "vast", LostKind.VM: "gce", LostKind.SNAPSHOTS: "snapshots"}
_NAMES = ("machine", "name")
"""A name may be given twice; an id is one machine's."""
Row = tuple[Sequence[str], float]


@dataclass(frozen=True, slots=True)
class _Stored:
    """What only the store knows."""

    pause: Pause | None
    is_readable: bool
    lost: Sequence[LostThing]
    alerts: int
    debts: int


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """Asked by whoever scrapes; what costs much is not asked. Without the store it tells what the process knows."""

    meters: Meters
    store: Store
    loop: Loop
    ingest: Ingest
    publisher: Publisher
    readiness: ReadinessPoll
    circuit: Circuit
    credit: CreditWatch
    leases: Leases
    feed: EventFeed
    clock: Clock
    topic_prefix: str
    is_kafka: bool

    async def render(self, accept: str) -> tuple[bytes, str]:
        """(page, media type), as Prometheus' text or as OpenMetrics."""
        began = self.clock.monotonic()
        await self.clock.breathe()
        lag_s = self.clock.monotonic() - began
        try:
            stored = await self.store.transact(_read)
        except StoreUnavailable:
            stored = None
        families = tuple(self._families(stored, lag_s))
        encode, media_type = choose_encoder(accept)
        return encode(_Both(self.meters.registry, families)), media_type

    def _families(self, stored: _Stored | None, lag_s: float) -> Iterator[Metric]:
        machines, now = self.loop.machines(), self.clock.now()
        yield from self._process(lag_s)
        yield _gauge("store_up", "Does the store answer?", (), [((), float(stored is not None))])
        yield from _fleet(machines)
        if len(machines) <= MOST_MACHINES:
            yield from self._each(machines, now)
        yield from self._heard()
        if stored is not None:
            yield from _stored(stored, now)

    def _process(self, lag_s: float) -> Iterator[Metric]:
        holds = float(self.leases.holds(FLEET))
        yield _gauge("leader", "Does this replica do the fleet's jobs?", (), [((), holds)])
        late_s = max(lag_s, self.loop.busy_s())
        text = "How late the control loop is: for so long it is at one signal, or a ready task waits for its turn."
        yield _gauge("loop_lag_seconds", text, (), [((), late_s)])
        yield _gauge("event_followers", "Open streams of /events.", (), [((), float(self.feed.readers))])
        answers = self.readiness.answers
        asked = [] if answers is None else [(("vast",), float(answers))]
        yield _gauge("provider_up", "Did the provider's last listing come?", ("provider",), asked)
        states: list[Row] = [(("vast", one.value), float(one is self.circuit.state)) for one in CircuitState]
        text = "Open: the provider answers nobody, so nothing is sent but a probe now and then (half_open while it is out)."
        yield _gauge("provider_circuit_state", text, ("provider", "state"), states)
        credit = self.credit.last_told
        known = [] if credit is None else [(("vast",), credit)]
        yield _gauge("provider_balance_dollars", "The account's credit, as last asked.", ("provider",), known)

    def _heard(self) -> Iterator[Metric]:
        left = float(self.leases.stands_back)
        yield _gauge(
            "stands_back", "Does this replica leave its work to others, which the provider answers?", (), [((), left)]
        )
        blind = float(self.ingest.blindness is not None)
        yield _gauge("observer_blind", "Is no silence trusted now?", (), [((), blind)])
        beats: list[Row] = [(("live" if live else "replayed",), float(n)) for live, n in self.ingest.beats.items()]
        yield _count("heartbeats", "Heartbeats that were heard.", ("result",), beats)
        sent = self.publisher.published
        rows: list[Row] = [((topic,), float(number)) for topic, number in sorted(sent.items())]
        yield _count("published", "Records that were published.", ("topic",), rows)
        letters = float(sent[self.topic_prefix + topics.DEAD_LETTERS])
        yield _count("dlq_messages", "Records that could not be read, kept as dead letters.", (), [((), letters)])
        if self.is_kafka:
            topic = self.topic_prefix + topics.HEARTBEATS
            lags: list[Row] = [((topic, str(place)), float(lag)) for place, lag in sorted(self.ingest.lags().items())]
            yield _gauge("kafka_consumer_lag", "Records that are not read yet.", ("topic", "partition"), lags)

    def _each(self, machines: Sequence[Machine], now: datetime) -> Iterator[Metric]:
        states: list[Row] = [
            ((*_names(one), state.value), float(one.state is state)) for one in machines for state in State
        ]
        yield _gauge("machine_state", "1 for the machine's state, 0 for every other.", (*_NAMES, "state"), states)
        yield self._of_each("machine_price_dollars_per_hour", "Of its instance.", machines, lambda m: m.price_per_hour)
        yield self._of_each(
            "machine_last_heartbeat_timestamp_seconds",
            "When it was last heard, where this replica judges it.",
            machines,
            lambda machine: self._heard_at(machine, now),
        )
        yield self._of_each(
            "snapshot_last_success_timestamp_seconds",
            "Of its newest verified snapshot.",
            machines,
            lambda machine: _at(now, self.readiness.snapshot_age_s(machine.id)),
        )

        yield self._of_each(
            "snapshot_size_bytes",
            "Of its newest verified snapshot.",
            machines,
            lambda machine: self.readiness.snapshot_size_bytes(machine.id),
        )

    def _heard_at(self, machine: Machine, now: datetime) -> float | None:
        silence = self.ingest.silence_of(machine.id)
        return None if silence is None or silence.sequence is None else _at(now, silence.silent_s)

    @staticmethod
    def _of_each(
        name: str, text: str, machines: Sequence[Machine], value: Callable[[Machine], float | None]
    ) -> GaugeMetricFamily:
        found = [(_names(machine), value(machine)) for machine in machines]
        return _gauge(name, text, _NAMES, [(names, value) for names, value in found if value is not None])


class _Both(Collector):
    """What was counted, and then how it stands."""

    def __init__(self, counted: Collector, families: Sequence[Metric]) -> None:
        self._counted, self._families = counted, families

    def collect(self) -> Iterable[Metric]:
        yield from self._counted.collect()
        yield from self._families


def _read(tx: Tx) -> _Stored:
    pause, is_readable = tx.readable_pause()
    return _Stored(pause, is_readable, tx.lost_things(), len(tx.open_alerts()), len(tx.open_debts()))


def _fleet(machines: Sequence[Machine]) -> Iterator[Metric]:
    states = Counter(machine.state for machine in machines)
    yield _gauge("machines", "Machines, by state.", ("state",), [((one.value,), float(states[one])) for one in State])
    modes = Counter(machine.mode for machine in machines)
    rows: list[Row] = [((mode.value,), float(modes[mode])) for mode in Mode]
    yield _gauge("auto_failover_mode", "Machines, by their auto_failover.", ("mode",), rows)
    running = sum(machine.failover is not None for machine in machines)
    yield _gauge("failovers_in_progress", "Machines that are in a failover.", (), [((), float(running))])
    waiting = Counter(machine.queued.waits_for for machine in machines if machine.queued is not None)
    rows = [((one.value,), float(waiting[one])) for one in WaitsFor]
    yield _gauge("failovers_waiting", "Dead machines that wait for their turn, by what for.", ("reason",), rows)


def _stored(stored: _Stored, now: datetime) -> Iterator[Metric]:
    stands = not stored.is_readable or (stored.pause is not None and stored.pause.until > now)
    until = stored.pause.until.timestamp() if stored.pause is not None and stored.pause.until > now else 0.0
    yield _gauge("paused", "Is automatic failover off, or its pause unreadable?", (), [((), float(stands))])
    text = "When the pause ends; 0 where none stands."
    yield _gauge("pause_until_timestamp_seconds", text, ("scope",), [(("fleet",), until)])
    orphans = Counter(one.kind for one in stored.lost if one.standing is Standing.ORPHAN)
    rows: list[Row] = [((_PROVIDERS[kind], kind.value), float(orphans[kind])) for kind in LostKind]
    yield _gauge("orphan_resources", "Paid for, ours, and explained by nothing.", ("provider", "kind"), rows)
    yield _gauge("alerts_open", "What a person should know now.", (), [((), float(stored.alerts))])
    yield _gauge("debts_open", "What must still be done.", (), [((), float(stored.debts))])


def _names(machine: Machine) -> tuple[str, str]:
    return str(machine.id), machine.name


def _at(now: datetime, age_s: float | None) -> float | None:
    return None if age_s is None else (now - timedelta(seconds=age_s)).timestamp()


def _gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"failoverd_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _count(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"failoverd_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family
