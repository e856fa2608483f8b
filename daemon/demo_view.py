"""How the demo is watched: a live screen on a terminal, plain lines elsewhere, nothing where JSON was asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from daemon import screens
from daemon.demo_watch import Look
from machines.model import Machine, MachineId
from machines.states import State

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

BEATS = 12
STORY_LINES = 14
FEWEST_STORY_LINES = 5
MOST_MACHINES = 16


class Pulse:
    """The last intervals of each machine: was a beat heard in them, and how long ago was the last one?"""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._heard: dict[MachineId, tuple[int, datetime]] = {}
        self._ticks: dict[MachineId, deque[bool]] = {}
        self._next: datetime | None = None
        self._spoke: set[MachineId] = set()

    def take(self, now: datetime, beats: Mapping[MachineId, int]) -> None:
        """How many beats came from each machine's present instance by now."""
        for machine, count in beats.items():
            if count and self._heard.get(machine, (0, now))[0] != count:
                self._heard[machine] = (count, now)
                self._spoke.add(machine)
        if self._next is None or (now - self._next).total_seconds() >= self._interval_s:
            self._next = now
            for machine in beats.keys() | self._ticks.keys():
                self._ticks.setdefault(machine, deque(maxlen=BEATS)).append(machine in self._spoke)
            self._spoke.clear()

    def drawing(self, machine: MachineId) -> str:
        return "".join("▇" if heard else "·" for heard in self._ticks.get(machine, ()))

    def age_s(self, machine: MachineId, now: datetime) -> float | None:
        heard = self._heard.get(machine)
        return None if heard is None else (now - heard[1]).total_seconds()


class View(Protocol):
    """What the demo shows itself to."""

    def tell(self, at: str, sentence: str) -> None:
        """Something happened; `at` is when, in simulated time."""

    def draw(self, title: str, look: Look, pulse: Pulse) -> None:
        """How things stand."""

    def close(self) -> None: ...


class SilentView:
    """For --json."""

    def tell(self, at: str, sentence: str) -> None: ...
    def draw(self, title: str, look: Look, pulse: Pulse) -> None: ...
    def close(self) -> None: ...


class PlainView:
    """One line for each thing that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def tell(self, at: str, sentence: str) -> None:
        self._console.print(f"{at}  {sentence}", soft_wrap=True, markup=False)

    def draw(self, title: str, look: Look, pulse: Pulse) -> None: ...
    def close(self) -> None: ...


class LiveView:
    """The machines, the failovers that run, and the last things that happened, on one screen that is redrawn."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._story: deque[tuple[str, str]] = deque(maxlen=STORY_LINES)
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def tell(self, at: str, sentence: str) -> None:
        self._story.append((at, sentence))

    def draw(self, title: str, look: Look, pulse: Pulse) -> None:
        shown = screen(title, look, pulse, tuple(self._story), self._console.height)
        self._live.update(shown, refresh=True)

    def close(self) -> None:
        self._live.stop()


def screen(title: str, look: Look, pulse: Pulse, story: Sequence[tuple[str, str]], height: int) -> RenderableType:
    """Top to bottom: the title, the machines, the running failovers, the story's last lines; never more than fits."""
    from rich.console import Group
    from rich.text import Text

    machines = _the_interesting_first(look, max(4, min(MOST_MACHINES, height // 2)))
    left = height - len(machines) - 4
    timelines = [_timeline(look, shown) for shown in look.running()]
    rows = sum(len(lines) for lines in timelines)
    if rows > left - FEWEST_STORY_LINES:
        timelines = [[lines[0], *_present(lines)] for lines in timelines]
        timelines = timelines[: max(1, (left - FEWEST_STORY_LINES) // 2)]
        rows = sum(len(lines) for lines in timelines)
    told = story[-max(FEWEST_STORY_LINES, left - rows) :]
    lines = [Text(f"{at}  {sentence}", no_wrap=True, overflow="ellipsis") for at, sentence in told]
    running = [line for lines in timelines for line in lines]
    return Group(Text(title, style="bold"), _machines(machines, look, pulse), *running, Text(""), *lines)


def _machines(machines: Sequence[Machine], look: Look, pulse: Pulse) -> RenderableType:
    from rich.text import Text

    table = screens.columns("MACHINE", "STATE", "BEATS", "AGE", "INSTANCE", "HOST", "GPU", "$/H", right=("AGE", "$/H"))
    for machine in machines:
        age = pulse.age_s(machine.id, look.at)
        state = machine.state.value
        table.add_row(
            machine.name,
            Text(state, style=screens.style_of(state)),
            pulse.drawing(machine.id),
            "-" if age is None else f"{age:.0f}s",
            str(machine.primary or "-"),
            str(machine.host or "-"),
            machine.workload.gpu_name or "?",
            "-" if machine.price_per_hour is None else f"{machine.price_per_hour:.2f}",
        )
    return table


def _the_interesting_first(look: Look, most: int) -> list[Machine]:
    """A small fleet stands as it is; of a large one those that are not well come first, and the rest is cut."""
    machines = list(look.machines.values())
    if len(machines) > most:
        machines.sort(key=lambda machine: (machine.state is State.HEALTHY, machine.id))
    return machines[:most]


def _timeline(look: Look, shown: Mapping[str, Any]) -> list[Text]:
    """A headline, and a line for each step of the present attempt."""
    from rich.text import Text

    began = screens.moment(shown["started_at"])
    assert began is not None
    name = look.machines[shown["machine_id"]].name
    head = Text(f"{name}  {shown['failover_id']}  {screens.span((look.at - began).total_seconds())}", style="cyan")
    attempt = shown["attempts"][-1] if shown["attempts"] else {"steps": ()}
    return [head, *(screens.step_line(step, attempt, began, look.at) for step in attempt["steps"])]


def _present(lines: Sequence[Text]) -> Sequence[Text]:
    """The step that a small screen shows: the last one that has begun."""
    begun = [line for line in lines[1:] if not line.plain.rstrip().endswith("pending")]
    return begun[-1:]
