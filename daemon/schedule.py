"""Periodic jobs of the whole fleet, on APScheduler; nothing else knows it.

About ten jobs of a second or more: never one per machine (facts/performance.md, section 6).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from adapters.sql.errors import StoreUnavailable
from adapters.system_clock import time_of_day_ahead_s
from machines.errors import FailoverdError
from machines.ports import Clock

log = structlog.get_logger(__name__)

Job = Callable[[], Awaitable[object]]
_SHORTEST_REAL_S = 0.2
_LOOK_FOR_A_STEP_REAL_S = 1.0
_A_STEP_S = 1.0


class Schedule:
    """Intervals are given in scaled seconds and run in real ones.

    APScheduler keeps the next run of a job as a time of day: under a clock that is stepped back no job would run for as
    long. So all are set anew when a step is seen.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._is_stopping = False
        self._watch: asyncio.Task[None] | None = None
        # That a slow job was not begun a second time is what `max_instances` is for, and no warning.
        logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
        # A job tells its own crash; what is left for the executor to log is a job that the stop met before it began.
        logging.getLogger("apscheduler.executors.default").setLevel(logging.CRITICAL)

    def every(self, seconds: float, name: str, job: Job) -> None:
        """Run the job now and then; a run that is late is made once, a run that is slow is not doubled."""
        real = max(_SHORTEST_REAL_S, seconds / self._clock.real(1.0))

        async def guarded() -> None:
            try:
                await job()
            except StoreUnavailable as error:
                log.debug("job_postponed", job=name, because=str(error))
            except FailoverdError as error:
                log.warning("job_postponed", job=name, because=str(error))
            except asyncio.CancelledError:
                # APScheduler cancels what runs when it stops, and would log each as an error.
                if not self._is_stopping:
                    raise
            except Exception:
                log.exception("job_crashed", job=name)

        self._scheduler.add_job(
            guarded, "interval", seconds=real, id=name, coalesce=True, max_instances=1, misfire_grace_time=None
        )

    def start(self) -> None:
        self._scheduler.start()
        self._watch = asyncio.create_task(self._follow_steps())

    async def _follow_steps(self) -> None:
        before = time_of_day_ahead_s()
        while True:
            await self._clock.sleep(self._clock.real(_LOOK_FOR_A_STEP_REAL_S))
            ahead = time_of_day_ahead_s()
            if abs(ahead - before) > _A_STEP_S:
                log.warning("time_of_day_stepped", seconds=round(ahead - before))
                for job in self._scheduler.get_jobs():
                    job.reschedule(IntervalTrigger(seconds=job.trigger.interval_length, timezone="UTC"))
            before = ahead

    def stop(self) -> None:
        self._is_stopping = True
        if self._watch is not None:
            self._watch.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
