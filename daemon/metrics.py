"""What one process counts and times for Prometheus, as it happens. Units and names follow its conventions.

Counters are of this process and begin at 0 with it: over several replicas they are to be summed. Seconds are those of the
daemon's clock.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate

import httpx
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from daemon.asked import Asked
from daemon.loop import Saved
from daemon.runner import StepTry
from machines.failover import EndFailover, Observed, Silenced
from machines.journal import Mark
from machines.model import Queued
from machines.ports import Clock, RestoreReport
from machines.states import State

BUCKETS = (1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200)
"""Seconds of what a failover takes."""
_CALL_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
_GAP_BUCKETS = (1.0, 2.0, 5.0, 8.0, 9.0, 10.0, 11.0, 12.0, 15.0, 20.0, 25.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0)
"""Fine about the usual interval of 10 s, and up to its grace of 30 s."""
_NUMBER = re.compile(r"/\d+(?=/|$)")


class Meters:
    """The instruments; each method fits one of the daemon's hooks."""

    def __init__(self, clock: Clock, version: str) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("failoverd_build", "The version that runs.", registry=self.registry).info({"version": version})
        self._gaps = _Gaps()
        self.registry.register(self._gaps)
        self._detected = self._seconds(
            "failoverd_detection_latency_seconds",
            "From the last heartbeat until the silence was noticed, in log time.",
            "signal",
        )
        self._failovers = self._count("failoverd_failovers", "Failovers that ended.", "trigger", "outcome")
        self._durations = self._seconds(
            "failoverd_failover_duration_seconds", "From the admission to the end.", "trigger", "outcome"
        )
        self._blocked = self._count(
            "failoverd_failovers_blocked", "How often a confirmed death had to wait, by what it waits for.", "reason"
        )
        self._observed = self._count(
            "failoverd_failovers_observed", "How often a machine that is only observed would have been failed over."
        )
        self._steps = self._seconds(
            "failoverd_failover_step_duration_seconds", "Of one try of a step.", "step", "outcome"
        )
        self._tries = self._count(
            "failoverd_failover_step_attempts", "Tries of steps that came to something.", "step", "outcome", "reason"
        )
        self._restored = self._count("failoverd_restore_bytes", "Of snapshots, restored and verified.")
        self._commands = self._count("failoverd_commands", "Commands, by their door.", "transport", "type", "outcome")
        self._notifications = self._count(
            "failoverd_notifications", "What was told to a channel, and what it did with it.", "channel", "outcome"
        )
        self._requests = self._count(
            "failoverd_provider_requests",
            "Calls of the provider; the code is `none` where the answer was lost.",
            *("provider", "operation", "code"),
        )
        self._calls = Histogram(
            "failoverd_provider_request_duration_seconds",
            "Of a call that was answered, in real time.",
            ("provider", "operation"),
            registry=self.registry,
            buckets=_CALL_BUCKETS,
        )

    def gaps(self, seconds: Sequence[float]) -> None:
        """So long after the beat before them these live ones came."""
        self._gaps.add(seconds)

    def saved(self, saved: Saved) -> None:
        """A decision: something was noticed, has to wait, or has ended."""
        before, after, now = saved.before, saved.machine, self._clock.now()
        if isinstance(saved.signal, Silenced) and after.state is State.DETECTING is not before.state:
            self._detected.labels("heartbeat_missed").observe(saved.signal.silent_s)
        if after.queued is not None and _waits_for(after.queued) != _waits_for(before.queued):
            self._blocked.labels(after.queued.waits_for.value).inc()
        for effect in saved.decision.effects:
            if isinstance(effect, EndFailover):
                self._ended(effect, now)
            elif isinstance(effect, Observed):
                self._observed.inc()

    def step(self, one: StepTry) -> None:
        """A try of a step has come to something."""
        self._steps.labels(one.step, one.mark.value).observe(one.seconds)
        reason = one.code if one.mark is not Mark.DONE and one.code else ""
        self._tries.labels(one.step, one.mark.value, reason).inc()
        if isinstance(one.output, RestoreReport):
            self._restored.inc(one.output.bytes_done)

    def command(self, asked: Asked, outcome: str) -> None:
        """A command came through a door."""
        self._commands.labels(asked.door, asked.command.command, outcome).inc()

    def notified(self, channel: str, outcome: str) -> None:
        """A channel was told of an incident or of its end."""
        self._notifications.labels(channel, outcome).inc()

    def vast_answer(self, request: httpx.Request, response: httpx.Response | None) -> None:
        """A call of the provider's has been answered, or never will be."""
        operation = f"{request.method} {_NUMBER.sub('/{id}', request.url.path)}"
        code = "none" if response is None else str(response.status_code)
        self._requests.labels("vast", operation, code).inc()
        seconds = None if response is None else _elapsed(response)
        if seconds is not None:
            self._calls.labels("vast", operation).observe(seconds)

    def _ended(self, effect: EndFailover, now: datetime) -> None:
        labels = effect.failover.reason.value, _outcome(effect)
        self._failovers.labels(*labels).inc()
        self._durations.labels(*labels).observe((now - effect.failover.started_at).total_seconds())

    def _count(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=BUCKETS)


class _Gaps(Collector):
    """A histogram of its own, for it is told of every beat: the library's takes ten times as long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_GAP_BUCKETS) + 1)
        self._sum_s = 0.0

    def add(self, seconds: Sequence[float]) -> None:
        counts = self._counts
        for one in seconds:
            counts[bisect_left(_GAP_BUCKETS, one)] += 1
        self._sum_s += sum(seconds)

    def collect(self) -> Iterable[Metric]:
        bounds = [*map(floatToGoString, _GAP_BUCKETS), "+Inf"]
        text = "Between two live heartbeats of one agent, in log time."
        family = HistogramMetricFamily("failoverd_heartbeat_interval_seconds", text, labels=())
        family.add_metric((), list(zip(bounds, accumulate(self._counts), strict=True)), self._sum_s)
        yield family


def _outcome(effect: EndFailover) -> str:
    if effect.success:
        return "succeeded"
    return "cancelled" if effect.code == "cancelled" else "failed"


def _elapsed(response: httpx.Response) -> float | None:
    """Not every transport times what it carries."""
    try:
        return response.elapsed.total_seconds()
    except RuntimeError:
        return None


def _waits_for(queued: Queued | None) -> object:
    return None if queued is None else queued.waits_for
