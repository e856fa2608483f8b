"""The log's topics: made at the start, and again where the log came back without them (a broker on an empty disk)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from events.topics import TopicProblem, TopicSpec
from machines.errors import LogUnavailable
from machines.ports import Clock, EventLog

log = structlog.get_logger(__name__)

_AWAY_AGAIN_REAL_S = 2.0
_LOOK_AGAIN_REAL_S = 10.0


class TopicWatch:
    """One alert for each topic that is not as we need it, resolved when it is."""

    def __init__(
        self,
        event_log: EventLog,
        specs: Sequence[TopicSpec],
        store: Store,
        clock: Clock,
        is_failing: Callable[[], bool],
    ) -> None:
        """`is_failing`: does the log fail its users now? Only then are topics that were once right looked at again."""
        self._log = event_log
        self._specs = tuple(specs)
        self._store = store
        self._clock = clock
        self._is_failing = is_failing
        self._told: dict[str, str] | None = None
        """Topic -> what the alerts say. None at first: a process before this one may have left some open."""
        self.problem: str | None = None
        """What is wrong with the topics, and what mends it; None where nothing is known to be."""

    async def ready(self) -> None:
        """Return when every topic is there and right. Wrong settings are told, and looked at again."""
        while True:
            try:
                problems = await self.check()
            except LogUnavailable as error:
                log.warning("log_unavailable", error=str(error), effect="no heartbeat is heard; HTTP works")
                await self._sleep(_AWAY_AGAIN_REAL_S)
                continue
            if not problems:
                return
            await self._sleep(_LOOK_AGAIN_REAL_S)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._sleep(_LOOK_AGAIN_REAL_S)
            if not (self._is_failing() or self._told):
                continue
            try:
                await self.check()
            except LogUnavailable as error:
                log.debug("topics_not_checked", error=str(error))

    async def check(self) -> Sequence[TopicProblem]:
        """Create what is missing, tell what is wrong, take back what is right again. Raise LogUnavailable."""
        problems = await self._log.ensure_topics(self._specs)
        names = dict.fromkeys(problem.topic for problem in problems)
        wrong = {name: "; ".join(str(one) for one in problems if one.topic == name) for name in names}
        self.problem = "; ".join(wrong.values()) or None
        if wrong != self._told:
            await self._tell(wrong)
        return problems

    async def _tell(self, wrong: dict[str, str]) -> None:
        now = self._clock.now()
        for topic, text in wrong.items():
            log.error("topic_problem", topic=topic, problem=text)

        def save(tx: Tx) -> None:
            for spec in self._specs:
                if spec.name not in wrong:
                    tx.resolve_alert(f"topic-{spec.name}", now)
            for topic, text in wrong.items():
                tx.raise_alert(f"topic-{topic}", text, now)

        try:
            await self._store.transact(save)
        except StoreUnavailable as error:
            log.debug("topic_alert_postponed", because=str(error))
        else:
            self._told = wrong

    async def _sleep(self, real_s: float) -> None:
        await self._clock.sleep(self._clock.real(real_s))
