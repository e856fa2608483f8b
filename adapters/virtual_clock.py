"""Virtual time: an event loop without sockets or threads whose waiting is a jump to the next deadline.

Tasks belong to simulated processes. A process can be frozen (its tasks get no turn while the world goes on) and killed
(they never get one again), at any turn and without a clean stop, as SIGSTOP and SIGKILL do it.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random  # noqa: TID251 - seeded: a whole simulation follows from one seed
import types
from asyncio import events
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

from machines.elapsed import Elapsed

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of day at which every simulation begins."""


class Standstill(RuntimeError):
    """Nothing is ready and nothing is planned: whoever waits, waits for ever."""


class Process:
    """Tasks that share one fate."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_frozen = False
        self.turns = 0
        """How often one of its callbacks was run."""
        self.held: deque[events.Handle] = deque()


_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def spawn(process: Process | None, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
    """Begin a task that belongs to the process, as everything does that it begins; None is the world itself."""
    context = contextvars.copy_context()
    context.run(_PROCESS.set, process)
    return asyncio.create_task(work, name=name, context=context)


async def elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """What is under way outside: it goes on, whatever becomes of the process that waits for it."""
    task = spawn(None, work)
    task.add_done_callback(_look_at)
    return await asyncio.shield(task)


def _look_at(task: asyncio.Task[Any]) -> None:
    """Nobody may be left to hear of its failure."""
    if not task.cancelled():
        task.exception()


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks as asyncio's own loop does. `run_in_executor` is refused: a thread has no virtual time.

    It relies on the two containers of BaseEventLoop (`_ready`, `_scheduled`) and on what a Handle holds, which have been
    there since Python 3.7; a test holds that they are.
    """

    _ready: deque[events.Handle]
    _scheduled: list[Any]
    """(when, number, handle or future, the future's process): a handle compares itself in Python, a tuple of numbers does
    not."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        self._planned = 0
        self._killed: list[Process] = []
        self.on_turn: Callable[[], None] | None = None
        """Called after every round of callbacks."""

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._virtual

    def call_at(  # type: ignore[override]  # typeshed binds the arguments' types to the callback's
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.TimerHandle:
        """What is planned for one moment comes in the order in which it was planned."""
        handle = events.TimerHandle(when, callback, args, self, context)
        self._planned += 1
        heapq.heappush(self._scheduled, (when, self._planned, handle, None))
        return handle

    def call_soon(  # type: ignore[override]  # as above
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.Handle:
        """Without asyncio's checks for its debug mode, which cost as much as the call."""
        handle = events.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def alarm(self, seconds: float) -> asyncio.Future[None]:
        """Done after so many seconds, unless somebody sets its result before. A future in the place of a timer's handle:
        most of what a simulation does is to wait."""
        alarm: asyncio.Future[None] = self.create_future()
        self._planned += 1
        heapq.heappush(self._scheduled, (self._virtual + seconds, self._planned, alarm, _PROCESS.get()))
        return alarm

    def freeze(self, process: Process) -> None:
        process.is_frozen = True

    def thaw(self, process: Process) -> None:
        """It goes on where it stood; what came due meanwhile comes at once, in its order."""
        process.is_frozen = False
        self._ready.extendleft(reversed(process.held))
        process.held.clear()

    def kill(self, process: Process) -> None:
        """Never another turn. Its tasks stay as they are, so that no clean-up of theirs runs; see `bury`."""
        process.is_frozen = True
        self._killed.append(process)

    def bury(self) -> None:
        """At the very end: let the tasks of killed processes run again, to be cancelled like all others."""
        for process in self._killed:
            self.thaw(process)
        self._killed.clear()

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        while scheduled and _is_off(scheduled[0][2]):
            heapq.heappop(scheduled)
        if not ready:
            if not scheduled:
                raise Standstill("nothing is ready and nothing is planned")
            self._virtual = max(self._virtual, scheduled[0][0])
        now = self._virtual
        while scheduled and scheduled[0][0] <= now:
            _, _, planned, owner = heapq.heappop(scheduled)
            if _is_off(planned):
                continue
            if isinstance(planned, events.Handle):
                ready.append(planned)
            elif owner is not None and owner.is_frozen:
                owner.held.append(self._late(planned, owner))
            else:
                planned.set_result(None)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(_PROCESS)  # type: ignore[attr-defined]
            if process is not None:
                if process.is_frozen:
                    process.held.append(handle)
                    continue
                process.turns += 1
            handle._run()
        if self.on_turn is not None:
            self.on_turn()

    def _late(self, alarm: asyncio.Future[None], owner: Process) -> events.Handle:
        """A process that is frozen hears its alarm when it is thawed, among all else that came due meanwhile."""
        context = contextvars.copy_context()
        context.run(_PROCESS.set, owner)
        return events.Handle(_set_off, (alarm,), self, context)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError(f"a thread for {func}: it has no virtual time")


def _set_off(alarm: asyncio.Future[None]) -> None:
    if not alarm.done():
        alarm.set_result(None)


def _is_off(planned: events.Handle | asyncio.Future[None]) -> bool:
    return planned._cancelled if isinstance(planned, events.Handle) else planned.done()


@types.coroutine
def _one_turn() -> Generator[None, None, None]:
    yield


class VirtualClock:
    """The clocks of one simulated process: the loop's time, and a time of day that may be wrong."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.skew = timedelta(0)
        """Added to the time of day; a clock that is stepped."""
        self._elapsed = Elapsed()
        self._shown: tuple[float, timedelta, datetime] | None = None
        """Between two jumps of the time the clock is looked at many times."""

    def now(self) -> datetime:
        monotonic, skew = self._loop.time(), self.skew
        if self._shown is None or self._shown[0] != monotonic or self._shown[1] is not skew:
            now = START + timedelta(seconds=monotonic) + skew
            self._elapsed.note(now, monotonic)
            self._shown = monotonic, skew, now
        return self._shown[2]

    def since(self, at: datetime, unseen_at_most: timedelta | None = None) -> timedelta:
        return self._elapsed.since(at, self.now(), self._loop.time(), unseen_at_most)

    def begin_anew(self) -> None:
        """Another process begins: it knows nothing of the steps that the one before it saw."""
        self._elapsed, self._shown = Elapsed(), None
        self.now()

    def monotonic(self) -> float:
        return self._loop.time()

    def real(self, seconds: float) -> float:
        return seconds

    def alarm(self, seconds: float) -> asyncio.Future[None]:
        """Done after so many seconds; whoever sets its result before wakes the one that waits for it."""
        return self._loop.alarm(max(0.0, seconds))

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            await self._loop.alarm(seconds)
        else:
            await _one_turn()

    async def breathe(self) -> None:
        await _one_turn()

    async def wait_for(self, awaitable: Awaitable[T], seconds: float) -> T:
        """Raise TimeoutError."""
        async with asyncio.timeout(seconds):
            return await awaitable


class SeededRandom:
    """Ids and jitter that follow from a seed."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)

    def token(self, length: int = 12) -> str:
        return "".join(self._rng.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(length))

    def jitter(self) -> float:
        return self._rng.random()


def run_virtually(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run to the end in a loop of its own, then end every task that is left."""
    loop = VirtualLoop()
    events.set_event_loop(loop)
    try:
        return loop.run_until_complete(work(loop))
    finally:
        try:
            loop.on_turn = None
            loop.bury()
            _end_all(loop)
        finally:
            events.set_event_loop(None)
            loop.close()


def _end_all(loop: VirtualLoop) -> None:
    """In the order of their names and beginnings, so that even this is the same each time."""
    for _ in range(100):
        left = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        if not left:
            return
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=60.0))
    raise RuntimeError(f"tasks that do not end: {sorted(task.get_name() for task in asyncio.all_tasks(loop))}")
