"""How long a warm-pool failover takes by phase, and how much of it is ours, beside what the provider needs.

Vast's real timings at speed 1 (adapters/sim/settings.py): `python -m benchmarks.warm_pool --machines 10`. The provider's
share is what its settings say: a start takes 30 s to running and 12 s more to SSH, a reboot 20 s, and one change is
allowed a second. All else is ours, the waiting for the next listing (one a second) included.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from adapters.sim.settings import WorldSettings
from daemon.demo_stage import Cast, Stage, stage
from daemon.demo_watch import look
from machines.states import State

STAGGER_S = 5.0
PHASES = (
    "kill to failover",
    "repair_primary",
    "check_standby",
    "fence_primary",
    "start_standby",
    "await_running",
    "verify_workspace",
    "start_agent",
    "await_heartbeat",
    "hand_over",
    "between steps",
)


async def measure(machines: int, speed: float) -> list[dict[str, float]]:
    """Crash all of them, a few seconds apart, and read each phase from the journal. Seconds, by phase."""
    with tempfile.TemporaryDirectory(prefix="failoverd-bench-") as folder:
        async with stage(Path(folder), speed, 1, "calm", "allowed", machines) as everything:
            cast = await everything.load(machines)
            for one in cast:
                await everything.register(one)
            await _until_healthy(everything, cast)
            killed: dict[int, datetime] = {}
            for one in cast:
                killed[one.id] = everything.clock.now()
                await everything.crash(one.instance)
                await everything.clock.sleep(STAGGER_S)
            while True:
                seen = await look(everything.daemon.store, everything.clock)
                shown = [seen.failovers_of(one.id) for one in cast]
                if all(failovers and failovers[-1]["ended_at"] for failovers in shown):
                    break
                await everything.clock.sleep(everything.clock.real(1.0))
            return [_phases(seen.failovers_of(one.id)[-1], killed[one.id]) for one in cast]


async def _until_healthy(everything: Stage, cast: tuple[Cast, ...]) -> None:
    ingest = everything.daemon.ingest
    while True:
        now = await look(everything.daemon.store, everything.clock)
        heard = all(ingest.heard(one.instance) is not None for one in cast)
        calm = all(m.state is State.HEALTHY and ingest.is_blind(m) is None for m in now.machines.values())
        if heard and calm and len(now.machines) == len(cast):
            return
        await everything.clock.sleep(everything.clock.real(0.5))


def _phases(shown: dict[str, Any], killed_at: datetime) -> dict[str, float]:
    began, ended = _moment(shown["started_at"]), _moment(shown["ended_at"])
    found = dict.fromkeys(PHASES, 0.0)
    found["kill to failover"] = (began - killed_at).total_seconds()
    for attempt in shown["attempts"]:
        if attempt["strategy"] == "repair_primary":
            found["repair_primary"] += attempt["seconds"]
            continue
        for step in attempt["steps"]:
            found[step["name"]] = found.get(step["name"], 0.0) + (step["seconds"] or 0.0)
    found["total"] = (ended - killed_at).total_seconds()
    found["between steps"] = found["total"] - sum(found[name] for name in PHASES)
    return found


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=10)
    parser.add_argument("--speed", type=float, default=1.0)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    rows = asyncio.run(measure(options.machines, options.speed))
    world = WorldSettings()
    provider = {
        "await_running": world.start_seconds + world.ssh_seconds,
        "repair_primary": world.reboot_seconds,
        # The stop of the fence came just before, and the provider takes one change a second.
        "start_standby": world.intervals["change_instance"],
    }
    print(f"{len(rows)} warm-pool failovers, medians in seconds at speed {options.speed:g}")
    ours = 0.0
    for name in PHASES:
        median = statistics.median(row[name] for row in rows)
        theirs = provider.get(name, 0.0)
        ours += median - theirs
        print(f"  {name:<18} {median:7.2f}   the provider's {theirs:6.2f}   ours {median - theirs:6.2f}")
    total = statistics.median(row["total"] for row in rows)
    print(f"  {'total':<18} {total:7.2f}   ours {ours:.2f}, {100 * ours / total:.1f} %")


if __name__ == "__main__":
    main()
