"""Periodic jobs on the virtual clock: the second implementation of the daemon's timetable, without APScheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from adapters.sql.errors import StoreUnavailable
from daemon.surroundings import Job
from machines.errors import FailoverdError
from machines.ports import Clock

log = structlog.get_logger(__name__)


class VirtualTimetable:
    """As daemon/schedule.py: a run that is late is made once, a run that is slow is not doubled."""

    def __init__(self, clock: Clock, has_work: Callable[[str], bool]) -> None:
        """`has_work`: would this job find anything now? One that would not is not run: time jumps to the next deadline."""
        self._clock, self._has_work = clock, has_work
        self._jobs: list[tuple[float, str, Job]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.crashed: list[str] = []
        """Jobs that raised what no job may raise: bugs of the daemon."""

    def every(self, seconds: float, name: str, job: Job) -> None:
        self._jobs.append((seconds, name, job))

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._repeat(seconds, name, job), name=f"job {name}")
            for seconds, name, job in self._jobs
        ]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _repeat(self, seconds: float, name: str, job: Job) -> None:
        due = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            due = max(due + seconds, now)
            await self._clock.sleep(due - now)
            if not self._has_work(name):
                continue
            try:
                await job()
            except (FailoverdError, StoreUnavailable) as error:
                log.debug("job_postponed", job=name, because=str(error))
            except Exception as bug:
                log.exception("job_crashed", job=name)
                self.crashed.append(f"{name}: {bug!r}")
