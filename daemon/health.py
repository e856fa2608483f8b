"""What the daemon finds out about itself, from memory: asking costs nothing and waits for nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.api.services import Check
from daemon.ingest import Ingest
from daemon.loop import Loop
from daemon.publisher import Publisher
from daemon.readiness import ReadinessPoll
from daemon.store_watch import StoreWatch
from daemon.topic_watch import TopicWatch
from machines.ports import Clock

_STUCK_AFTER_REAL_S = 60.0
"""The store gives up on a lock long before; a signal that takes longer than this will not end."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Fits `daemon.api.services.Health`. Only a loop that stands still is mended by a restart."""

    loop: Loop
    ingest: Ingest
    publisher: Publisher
    readiness: ReadinessPoll
    topics: TopicWatch
    store: StoreWatch
    clock: Clock
    log_kind: str

    def __call__(self) -> Mapping[str, Check | str]:
        return {
            "loop": self._loop(),
            "log": _check(
                self.topics.problem or self.publisher.problem,
                self.publisher.down_for_s,
                f"{self.log_kind}: it takes records",
            ),
            "heartbeats": _check(self.ingest.blindness, self.ingest.blind_for_s, self._heard()),
            "store": _check(self.store.problem, self.store.down_for_s, "it answers"),
            "provider": _check(self.readiness.problem, self.readiness.problem_for_s, "it answers"),
        }

    def _heard(self) -> str:
        return "left to the other replicas" if self.ingest.has_left else "every partition is heard"

    def _loop(self) -> Check:
        busy_s = self.loop.busy_s()
        if busy_s > self.clock.real(_STUCK_AFTER_REAL_S):
            return Check(False, f"it has been at one signal for {busy_s:.0f} s", vital=True, for_s=busy_s)
        return Check(True, "it takes signals", vital=True)


def _check(problem: str | None, for_s: float | None, well: str) -> Check:
    return Check(True, well) if problem is None else Check(False, problem, for_s=for_s)
