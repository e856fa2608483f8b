"""What many seeds came to, for people and as one JSON document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daemon.simulation.full_size import EVERYTHING
from daemon.simulation.run import Outcome


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that broke an invariant, with its shortest story."""

    outcome: Outcome
    kept: tuple[int, ...] | None
    """The places of the weather events that are enough; None where all were played."""
    strategy: str

    @property
    def command(self) -> str:
        """Replays it."""
        events = "" if self.kept is None else f" --events {','.join(map(str, self.kept)) or 'none'}"
        return (
            f"failoverd simulate --scenario {self.outcome.scenario} --strategy {self.strategy}"
            f" --seed {self.outcome.seed}{events}"
        )


def report(
    outcomes: Sequence[Outcome], failures: Sequence[Failure], real_s: float, cpu_s: float, is_replay: bool = False
) -> dict[str, Any]:
    """As `--json` prints it. A run without failovers proves nothing, unless it is the replay of one seed."""
    seen: Counter[str] = Counter()
    for outcome in outcomes:
        seen.update(outcome.seen)
    simulated_s = sum(outcome.simulated_s for outcome in outcomes)
    return {
        "ok": not failures and (is_replay or seen["failovers"] > 0),
        "seeds": len(outcomes),
        "violations": sum(len(outcome.violations) for outcome in outcomes),
        "simulated_hours": round(simulated_s / 3600, 2),
        "real_seconds": round(real_s, 1),
        "cpu_seconds": round(cpu_s, 1),
        "simulated_hours_per_core_minute": round(simulated_s / 3600 / (cpu_s / 60), 1) if cpu_s else None,
        "events": sum(outcome.count for outcome in outcomes),
        "faults": seen["weather events"],
        "failovers": seen["failovers"],
        "automatic_failovers": seen["automatic failovers"],
        "coverage": [_coverage(name, [one for one in outcomes if one.scenario == name]) for name in EVERYTHING],
        "tables": {one.scenario: list(one.table) for one in outcomes if one.table},
        "faults_by_kind": _named(seen, "weather "),
        "edges": _named(seen, "edge "),
        "failed_seeds": [_failure(failure) for failure in failures],
    }


def _coverage(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """How often each strategy ran and succeeded in one scenario."""
    seen: Counter[str] = Counter()
    for outcome in outcomes:
        seen.update(outcome.seen)
    return {
        "scenario": name,
        "seeds": len(outcomes),
        "faults": seen["weather events"],
        "failovers": seen["failovers"],
        "succeeded": _named(seen, "failover succeeded by "),
        "ended_otherwise": _named(seen, "failover ended with "),
    }


def _named(seen: Counter[str], start: str) -> dict[str, int]:
    return {
        name.removeprefix(start): count
        for name, count in sorted(seen.items())
        if name.startswith(start) and name != "weather events"
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "scenario": failure.outcome.scenario,
        "seed": failure.outcome.seed,
        "violations": [str(violation) for violation in failure.outcome.violations],
        "replay": failure.command,
        "story": list(failure.outcome.story),
    }


def table(made: dict[str, Any]) -> list[str]:
    """The report as lines for people."""
    lines = [
        f"{made['seeds']} seeds, {made['simulated_hours']} simulated hours in {made['real_seconds']} s"
        f" ({made['simulated_hours_per_core_minute']} h per minute of one core):"
        f" {made['events']} events, {made['faults']} faults, {made['failovers']} failovers,"
        f" {made['violations']} violations",
        "",
        f"{'scenario':<10}{'seeds':>6}{'faults':>8}{'failovers':>11}  succeeded by",
    ]
    for row in made["coverage"]:
        if row["seeds"]:
            won = ", ".join(f"{name} {count}" for name, count in row["succeeded"].items())
            lines.append(f"{row['scenario']:<10}{row['seeds']:>6}{row['faults']:>8}{row['failovers']:>11}  {won}")
    return lines
