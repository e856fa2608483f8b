"""`failoverd demo`: a whole failover to watch, in one process, without keys, brokers or money."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from daemon import logs, screens
from daemon.client import EXIT_FAILED
from daemon.demo_checks import check_all, is_over, unclaimed
from daemon.demo_report import Outcome, report, report_screen
from daemon.demo_stage import INTERVAL_S, Cast, Stage, stage
from daemon.demo_view import LiveView, PlainView, Pulse, SilentView, View
from daemon.demo_watch import Look, look, narrate
from daemon.state_folder import private_files
from machines.model import MachineId
from machines.states import State

LOOK_EVERY_REAL_S = 0.12
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The command's options, as they were given. `timeout_s` is in real seconds."""

    machines: int
    kill: int
    speed: float
    seed: int
    weather: str
    volume_sharing: str
    timeout_s: float
    as_json: bool


def run_demo(options: DemoOptions) -> int:
    """0 where everything held, else 6. What the daemon logged is kept where something did not."""
    folder = Path(tempfile.mkdtemp(prefix="failoverd-demo-"))
    try:
        code = _perform(options, folder)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except screens.NobodyReads:
        code = screens.NOBODY_READS
    except BaseException:
        print(f"the demo fell over; its logs are in {folder}", file=sys.stderr)
        raise
    if code != EXIT_FAILED:
        shutil.rmtree(folder, ignore_errors=True)
        return code
    print(f"the daemon's log and database are in {folder}", file=sys.stderr)
    return EXIT_FAILED


def _perform(options: DemoOptions, folder: Path) -> int:
    """Play it and tell how it ended. Raise screens.NobodyReads."""
    console = screens.console()
    view: View = SilentView() if options.as_json else LiveView(console) if console.is_terminal else PlainView(console)
    try:
        with (folder / "failoverd.log").open("ab") as log_file:
            _log_to(log_file, folder / "libraries.log")
            with private_files():
                outcome = asyncio.run(_play(options, folder, view))
    finally:
        view.close()
    found = report(outcome)
    if options.as_json:
        _print_json(found)
    else:
        console.print(report_screen(found, outcome.look))
    return 0 if found["ok"] else EXIT_FAILED


def _print_json(found: Mapping[str, Any]) -> None:
    try:
        print(json.dumps(found, indent=2), flush=True)
    except BrokenPipeError:
        screens.leave_the_pipe()
        raise screens.NobodyReads from None


def _log_to(log_file: BinaryIO, library_log: Path) -> None:
    """The daemon's own lines go to a file: the story is told on the screen."""
    logs.write_json(log_file, logging.DEBUG)
    logs.write_libraries(str(library_log))


async def _play(options: DemoOptions, folder: Path, view: View) -> Outcome:
    async with stage(
        folder, options.speed, options.seed, options.weather, options.volume_sharing, options.machines
    ) as everything:
        return await Play(options, everything, view).run()


@dataclass(slots=True)
class Play:
    """The course of the demo: machines come, all is well, hosts die, the daemon mends it, the world is checked."""

    options: DemoOptions
    stage: Stage
    view: View
    pulse: Pulse = field(default_factory=lambda: Pulse(INTERVAL_S))
    began: float = 0.0
    began_at: datetime | None = None
    killed_at: datetime | None = None
    seen: Look | None = None
    unclaimed: dict[int, str] = field(default_factory=dict)

    async def run(self) -> Outcome:
        clock = self.stage.clock
        self.began, self.began_at = clock.monotonic(), clock.now()
        everybody = await self._set_up()
        in_time = await self._until(partial(self._is_well, everybody))
        killed: Sequence[Cast] = ()
        if in_time:
            self._tell("All machines are heard and healthy, and each has a verified snapshot.")
            killed = self._victims(everybody)
            await self._kill(killed)
            in_time = await self._until(partial(self._is_over, killed))
        return await self._end(everybody, killed, in_time)

    # -- the acts

    async def _set_up(self) -> Sequence[Cast]:
        options, stage = self.options, self.stage
        self._tell(f"A provider with {len(stage.world.world.hosts)} hosts is simulated (seed {options.seed}).")
        token = stage.daemon.settings.state_dir / "token"
        self._tell(f"failoverd runs; its API listens at {stage.api_url} (token: {token}).")
        everybody = await stage.load(options.machines)
        for one in everybody:
            await stage.register(one)
        names = ", ".join(one.name for one in everybody)
        self._tell(f"{len(everybody)} machines run, each on a host of its own: {names}.")
        return everybody

    def _victims(self, everybody: Sequence[Cast]) -> Sequence[Cast]:
        """Spread over the fleet; the same for the same options."""
        count = self.options.kill
        return [everybody[index * len(everybody) // count] for index in range(count)]

    async def _kill(self, killed: Sequence[Cast]) -> None:
        self.killed_at = self.stage.clock.now()
        for place, one in enumerate(killed):
            if place % 2 == 0:
                await self.stage.crash(one.instance)
                self._tell(
                    f"Instance {one.instance} of {one.name} crashes now; its host {one.host} and its volume live."
                )
            else:
                await self.stage.kill_host(one.host)
                self._tell(f"Host {one.host} of {one.name} dies now, and instance {one.instance} with it.")

    async def _end(self, everybody: Sequence[Cast], killed: Sequence[Cast], in_time: bool) -> Outcome:
        truth = await self.stage.truth()
        seen = await self._look()
        lost = [one.name for one in everybody if not self._has_work(one, seen)]
        real_s = (self.stage.clock.monotonic() - self.began) / self.options.speed
        checks = check_all(everybody, killed, truth, seen, self.unclaimed, lost)
        return Outcome(everybody, killed, self.killed_at, seen, truth, checks, self.options.speed, real_s, in_time)

    def _has_work(self, one: Cast, seen: Look) -> bool:
        primary = seen.machines[one.id].primary
        return primary is not None and self.stage.work_of(primary) == self.stage.expected_work(one)

    # -- watching

    async def _until(self, is_done: Callable[[Look], Awaitable[bool]]) -> bool:
        """Look, tell, draw, until it is done; False where the time was over before."""
        clock = self.stage.clock
        deadline = self.began + clock.real(self.options.timeout_s)
        while True:
            self.stage.check()
            before = self.seen
            truth = await self.stage.truth()
            now = await self._look()
            self._watch_rentals(before, truth, now)
            if await is_done(now):
                return True
            if clock.monotonic() > deadline:
                return False
            await clock.sleep(clock.real(LOOK_EVERY_REAL_S))

    async def _look(self) -> Look:
        daemon = self.stage.daemon
        before, now = self.seen, await look(daemon.store, self.stage.clock)
        self.seen = now
        for sentence in narrate(before, now) if before is not None else ():
            self._tell(sentence)
        self.pulse.take(now.at, self._beats(now))
        self.view.draw(self._title(now), now, self.pulse)
        return now

    def _beats(self, now: Look) -> Mapping[MachineId, int]:
        counts = self.stage.starter.beats
        return {machine.id: counts[machine.primary or 0] for machine in now.machines.values()}

    def _watch_rentals(self, before: Look | None, truth: Mapping[str, Any], now: Look) -> None:
        """Machines that the demo loads are the operator's until they are registered; only ours can be unclaimed."""
        if before is None or self.killed_at is None:
            return
        for number in unclaimed(before, truth, now):
            self.unclaimed.setdefault(number, f"seen at {self._clock_face(now.at)}")

    async def _is_well(self, everybody: Sequence[Cast], now: Look) -> bool:
        """Every machine beats, is judged, and has its present work in a verified snapshot."""
        ingest = self.stage.daemon.ingest
        machines = now.machines.values()
        if not all(machine.state is State.HEALTHY and ingest.is_blind(machine) is None for machine in machines):
            return False
        if len(machines) < len(everybody) or any(ingest.heard(one.instance) is None for one in everybody):
            return False
        snapshots = (await self.stage.truth())["snapshots"]
        verified = [int(row["machine_id"]) for row in snapshots if row["verified"]]
        return all(verified.count(int(one.id)) >= 2 for one in everybody)

    async def _is_over(self, killed: Sequence[Cast], now: Look) -> bool:
        return is_over(killed, now)

    # -- telling

    def _tell(self, sentence: str) -> None:
        self.view.tell(self._clock_face(self.stage.clock.now()), sentence)

    def _clock_face(self, at: datetime) -> str:
        """Simulated time since the beginning, as minutes and seconds."""
        assert self.began_at is not None
        seconds = int((at - self.began_at).total_seconds())
        return f"{seconds // 60:02d}:{seconds % 60:02d}"

    def _title(self, now: Look) -> str:
        real = (self.stage.clock.monotonic() - self.began) / self.options.speed
        return (
            f"failoverd demo   {self._clock_face(now.at)} simulated ({real:.0f} s real, {self.options.speed:g}x)   "
            f"{self.stage.api_url}"
        )
