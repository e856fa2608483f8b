"""The demo's result: what happened to each machine, what it cost, and whether everything held. Data first, then text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from daemon import screens
from daemon.demo_checks import Check
from daemon.demo_stage import Cast
from daemon.demo_watch import Look

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_TIMELINES = 4
"""Whole timelines in the summary; each further failover has its headline."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that the report is made from."""

    everybody: Sequence[Cast]
    killed: Sequence[Cast]
    killed_at: datetime | None
    look: Look
    truth: Mapping[str, Any]
    checks: Sequence[Check]
    speed: float
    real_s: float
    in_time: bool


def report(outcome: Outcome) -> dict[str, Any]:
    """The whole result as one JSON document. Durations are simulated seconds, unless their name says `real`."""
    bill = outcome.truth["bill"]
    machines = [_machine(one, outcome) for one in outcome.everybody]
    ended = [row["seconds_to_recovery"] for row in machines if row["seconds_to_recovery"] is not None]
    slowest = max(ended, default=None)
    return {
        "ok": outcome.in_time and all(check.ok for check in outcome.checks),
        "in_time": outcome.in_time,
        "machines": machines,
        "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in outcome.checks],
        "costs": {
            "currency": "USD",
            "total": round(bill["total"], 6),
            "replacements": round(sum(row["costs"]["replacement"] for row in machines), 6),
            "lost_races": round(sum(row["costs"]["lost_races"] for row in machines), 6),
        },
        "durations": {
            "speed": outcome.speed,
            "slowest_recovery_s": slowest,
            "slowest_recovery_real_s": _real(slowest, outcome),
            "simulated_s": round(outcome.real_s * outcome.speed, 1),
            "real_s": round(outcome.real_s, 2),
        },
    }


def _machine(one: Cast, outcome: Outcome) -> dict[str, Any]:
    machine = outcome.look.machines[one.id]
    failovers = outcome.look.failovers_of(one.id)
    shown = failovers[-1] if failovers else None
    recovered_s = _after_kill(shown["ended_at"] if shown and shown["success"] else None, outcome)
    return {
        "machine_id": int(one.id),
        "name": one.name,
        "killed": one in outcome.killed,
        "host": one.host,
        "gpu_name": one.gpu_name,
        "state": machine.state.value,
        "old_instance": int(one.instance),
        "new_instance": machine.primary if machine.primary != one.instance else None,
        "strategy": shown["strategy_succeeded"] if shown else None,
        "failover_id": shown["failover_id"] if shown else None,
        "trigger": shown["trigger"] if shown else None,
        "because": shown["because"] if shown else None,
        "seconds_to_failover": _after_kill(shown["started_at"] if shown else None, outcome),
        "seconds_to_recovery": recovered_s,
        "real_seconds_to_recovery": _real(recovered_s, outcome),
        "fence": machine.fence,
        "fence_grade": shown["fence_grade"] if shown else None,
        "fence_proof": shown["fence_proof"] if shown else None,
        "data_age_seconds": shown["data_age_seconds"] if shown else None,
        "error": shown["error"] if shown else None,
        "steps": _steps(shown, outcome) if shown else [],
        "candidates": _candidates(shown) if shown else [],
        "costs": _costs(one, machine.primary, shown, outcome.truth["bill"]["instances"]),
    }


def _after_kill(at: str | None, outcome: Outcome) -> float | None:
    moment = screens.moment(at)
    if moment is None or outcome.killed_at is None:
        return None
    return round((moment - outcome.killed_at).total_seconds(), 1)


def _real(seconds: float | None, outcome: Outcome) -> float | None:
    return None if seconds is None else round(seconds / outcome.speed, 2)


def _steps(shown: Mapping[str, Any], outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "attempt": attempt["number"],
            "strategy": attempt["strategy"],
            "name": step["name"],
            "status": step["status"],
            "started_at": step["started_at"],
            "ended_at": step["ended_at"],
            "seconds": step["seconds"],
            "real_seconds": _real(step["seconds"], outcome),
            "tries": step["tries"],
            "error": step["error"],
        }
        for attempt in shown["attempts"]
        for step in attempt["steps"]
    ]


def _candidates(shown: Mapping[str, Any]) -> list[dict[str, Any]]:
    wanted = ("gpu_instance_id", "host", "gpu_name", "price_per_hour", "status", "why")
    return [{name: one[name] for name in wanted} for attempt in shown["attempts"] for one in attempt["candidates"]]


def _costs(
    one: Cast, primary: int | None, shown: Mapping[str, Any] | None, bill: Mapping[str, float]
) -> dict[str, float]:
    """From the provider's bill, in $: the instance that died, the one that serves, and those that lost the race."""
    rented = {row["gpu_instance_id"] for row in _candidates(shown)} if shown else set()
    losers = rented - {primary, None}
    new = 0.0 if primary == one.instance else bill.get(str(primary), 0.0)
    return {
        "old": round(bill.get(str(one.instance), 0.0), 6),
        "replacement": round(new, 6),
        "lost_races": round(sum(bill.get(str(loser), 0.0) for loser in losers), 6),
    }


# -- for people


def report_screen(found: Mapping[str, Any], look: Look) -> RenderableType:
    """The result on a terminal: the failovers, then the checks."""
    from rich.console import Group
    from rich.text import Text

    speed = found["durations"]["speed"]
    parts: list[RenderableType] = [Text("")]
    moved = [row for row in found["machines"] if row["failover_id"] is not None]
    for place, row in enumerate(moved):
        parts.append(_headline(row, speed))
        if place < MOST_TIMELINES:
            parts += [screens.timeline_screen(look.failovers[row["failover_id"]]), Text("")]
    parts += [_check_line(check) for check in found["checks"]]
    return Group(*parts, Text(_total(found)), _verdict(found))


def _headline(row: Mapping[str, Any], speed: float) -> RenderableType:
    from rich.text import Text

    if row["seconds_to_recovery"] is None:
        return Text(f"{row['name']}: not recovered ({row['error'] or row['state']})", style="bold red")
    seconds, real = row["seconds_to_recovery"], row["real_seconds_to_recovery"]
    cost = row["costs"]["replacement"] + row["costs"]["lost_races"]
    text = (
        f"{row['name']}: serves again {seconds:.0f} simulated seconds after it died, by {row['strategy']} "
        f"({real:.1f} real ones, {speed:g}x); new rentals cost ${cost:.4f}"
    )
    return Text(text, style="bold")


def _check_line(check: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text

    mark, style = ("✓", "green") if check["ok"] else ("✗", "bold red")
    return Text.assemble((f" {mark} {check['name']}", style), f"  {check['detail']}")


def _total(found: Mapping[str, Any]) -> str:
    costs, durations = found["costs"], found["durations"]
    return (
        f" {durations['simulated_s']:.0f} simulated seconds in {durations['real_s']:.1f} real ones; "
        f"the provider's bill: ${costs['total']:.4f}, of it ${costs['replacements']:.4f} for replacements "
        f"and ${costs['lost_races']:.4f} for rentals that lost the race"
    )


def _verdict(found: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text

    if found["ok"]:
        return Text("Everything held.", style="bold green")
    late = "" if found["in_time"] else " It did not come to its end in time (--timeout)."
    return Text(f"Something did not hold.{late}", style="bold red")
