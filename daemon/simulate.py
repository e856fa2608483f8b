"""`failoverd simulate`: many seeds of the whole daemon in bad weather, and one seed again with its story."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import structlog

from adapters.system_clock import SystemClock, cpu_seconds
from daemon.simulation.full_size import EVERYTHING, FULL_SIZE, FullSize
from daemon.simulation.report import Failure, report, table
from daemon.simulation.run import Outcome, simulate
from daemon.simulation.scenarios import SCENARIOS
from daemon.simulation.shrink import shrink

_LONGEST_STORY = 120


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What the command line chose."""

    seeds: int
    first: int
    scenario: str
    strategy: str
    seed: int | None
    """Replay this one only, and tell its story."""
    events: tuple[int, ...] | None
    as_json: bool
    workers: int
    """Processes; 0 is one for each core."""
    shrinks: bool = True


def run_simulation(options: SimulateOptions) -> int:
    """0 where no invariant was broken, and of more than one seed something was failed over; else 1."""
    be_quiet()
    clock = SystemClock()
    began = clock.monotonic()
    outcomes: list[Outcome] = []
    cpu_s = 0.0
    for outcome, seconds in _play_all(options):
        outcomes.append(outcome)
        cpu_s += seconds
        if not options.as_json and options.seed is None:
            print(_line(outcome), flush=True)
    failures = [_failure(outcome, options) for outcome in outcomes if outcome.violations]
    made = report(outcomes, failures, clock.monotonic() - began, cpu_s, options.seed is not None)
    if options.as_json:
        print(json.dumps(made, indent=2))
    else:
        _print(made, outcomes, failures, options)
    return 0 if made["ok"] else 1


def _play_all(options: SimulateOptions) -> Iterator[tuple[Outcome, float]]:
    wanted = _chosen(options)
    if options.seed is not None or len(wanted) == 1:
        yield from map(partial(_play, options.events), wanted)
        return
    # A fork would inherit loggers and caches half used; a fresh process for each core keeps the seeds apart.
    context = multiprocessing.get_context("spawn")
    workers = min(options.workers or os.cpu_count() or 1, len(wanted))
    with context.Pool(workers, initializer=be_quiet) as pool:
        yield from pool.imap(partial(_play, None), wanted)


def _chosen(options: SimulateOptions) -> Sequence[tuple[str, str, int]]:
    """(scenario, strategy, seed): the seeds are spread over the scenarios; those of full size are played once."""
    is_all = options.scenario == "all"
    names = list(SCENARIOS) if is_all else options.scenario.split(",")
    if options.seed is not None:
        return [(name, options.strategy, options.seed) for name in names]
    numbers = range(options.first, options.first + options.seeds)
    # The long ones first, so that no core waits for them at the end.
    once = [(name, options.strategy, options.first) for name in FULL_SIZE if is_all]
    return once + [(names[place % len(names)], options.strategy, number) for place, number in enumerate(numbers)]


def _play(events: tuple[int, ...] | None, wanted: tuple[str, str, int]) -> tuple[Outcome, float]:
    scenario, strategy, seed = wanted
    began = cpu_seconds()
    _keep_modules()
    gc.collect()  # What the seed before left; while one is played, looking for more costs a tenth of its time.
    gc.disable()
    outcome = simulate(seed, EVERYTHING[scenario], strategy, events)
    gc.enable()
    if not outcome.violations:
        outcome = replace(outcome, story=outcome.story if events is not None else outcome.story[-_LONGEST_STORY:])
    return outcome, cpu_seconds() - began


@cache
def _keep_modules() -> None:
    """Once in a process: modules stay, and to look through them between two seeds would be for nothing."""
    gc.freeze()


def _failure(outcome: Outcome, options: SimulateOptions) -> Failure:
    scenario = EVERYTHING[outcome.scenario]
    if options.events is not None or not options.shrinks or isinstance(scenario, FullSize):
        return Failure(outcome, options.events, options.strategy)

    def play(kept: Sequence[int]) -> Outcome:
        return simulate(outcome.seed, scenario, options.strategy, kept)

    best, kept = shrink(outcome, len(scenario.events(outcome.seed, options.strategy)), play)
    return Failure(best, kept, options.strategy)


def _print(
    made: dict[str, Any], outcomes: Sequence[Outcome], failures: Iterable[Failure], options: SimulateOptions
) -> None:
    for outcome in outcomes if options.seed is not None else ():
        if not outcome.violations:
            print(f"\n{outcome.scenario}, seed {outcome.seed}")
            print("\n".join(outcome.story))
            print(f"\nhistory {outcome.digest}")
    for failure in failures:
        print(f"\n{failure.outcome.scenario}, seed {failure.outcome.seed}: its shortest story")
        print("\n".join(failure.outcome.story))
        print(f"replay: {failure.command}")
    for outcome in outcomes:
        if outcome.table:
            print("\n".join(("", f"{outcome.scenario}: {EVERYTHING[outcome.scenario].about}", *outcome.table)))
    print()
    print("\n".join(table(made)))
    if not made["failovers"]:
        print("nothing was failed over: such a run proves nothing")


def _line(outcome: Outcome) -> str:
    verdict = "; ".join(map(str, outcome.violations)) or "ok"
    plan = outcome.plan
    return (
        f"{outcome.scenario:<8} seed {outcome.seed:<5} {plan.machines:>3} machines, {plan.replicas} replicas,"
        f" {outcome.simulated_s / 60:4.0f} min, {outcome.seen['failovers']:2d} failovers, {outcome.digest[:12]}  {verdict}"
    )


QUIET = ("failoverd.agent", "httpx", "asyncio")


def be_quiet() -> None:
    """The daemon's log lines would be thousands, and tell less than the story."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
