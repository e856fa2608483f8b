"""The twelve hardest situations of the safety reference as weather: which events, how often, and how many replicas."""

from __future__ import annotations

import random  # noqa: TID251 - seeded: the weather follows from the seed alone
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.sim.settings import VolumeSharing
from daemon.simulation.theatre import Plan
from daemon.simulation.weather import Event

STRATEGIES = ("warm_pool", "cpu_standby", "both")
FAULTS = (
    "status * 500",
    "status * 502",
    "status create_instance 503",
    "status change_instance 429",
    "status * 429",
    "status list_instances 429",
    "status_after create_instance 502",
    "status_after change_instance 500",
    "status_after destroy_instance 500",
    "timeout_before * 0",
    "timeout_after create_instance 0",
    "timeout_after change_instance 0",
    "timeout_after destroy_instance 0",
    "timeout_after reboot_instance 0",
    "timeout_after delete_volume 0",
    "latency * 0",
    "empty_list list_instances 0",
    "partial_list list_instances 0",
    "empty_list list_volumes 0",
    "empty_list search_offers 0",
    "malformed * 0",
    "malformed create_instance 0",
    "auth_error * 0",
)
COMMANDS = ("failover", "failover", "cancel", "cancel", "drill", "pause", "resume", "failover late", "retry")
CUTS = ("broker", "provider", "ssh")

EVERYWHERE: Mapping[str, float] = {
    "host_dies": 1.0,
    "container_crashes": 1.0,
    "agent_dies": 0.5,
    "broker_is_down": 0.4,
    "partition_stalls": 0.4,
    "provider_fails": 1.5,
    "replica_is_killed": 0.7,
    "replica_is_frozen": 0.5,
    "store_is_slow": 0.3,
    "beats_come_late": 0.3,
    "operator": 0.7,
}
"""What happens in every scenario, beside its own trouble."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A weather profile. `trouble` adds to what happens everywhere."""

    name: str
    about: str
    trouble: Mapping[str, float]
    replicas: Sequence[int] = (1, 1, 2)
    minutes: int = 30
    a_minute: float = 1.6
    """Events in a simulated minute, at the least one."""
    fixed: tuple[Event, ...] = ()
    """A story that was written by hand: these events and no others."""
    deaths: int = 2
    """Machines that die early, whatever else happens."""

    def plan(self, seed: int, strategy: str) -> Plan:
        rng = random.Random(f"{self.name}/{seed}/plan")
        machines = rng.randint(3, 8)
        strategies = [rng.choice(STRATEGIES) if strategy == "all" else strategy for _ in range(machines)]
        sharing: VolumeSharing = "allowed" if rng.random() < 0.75 else "refused"
        return Plan(seed, machines, rng.choice(self.replicas), tuple(strategies), sharing)

    def events(self, seed: int, strategy: str) -> list[Event]:
        if self.fixed:
            return list(self.fixed)
        rng = random.Random(f"{self.name}/{seed}/weather")
        weights = {**EVERYWHERE}
        for kind, weight in self.trouble.items():
            weights[kind] = weights.get(kind, 0.0) + weight
        kinds, shares = list(weights), list(weights.values())
        found = [
            _event(rng, 20.0 + 40.0 * place, rng.choice(("host_dies", "container_crashes")))
            for place in range(self.deaths)
        ]
        for minute in range(self.minutes):
            count = 1 + (rng.random() < self.a_minute - 1)
            found += [_event(rng, 60.0 * (minute + rng.random()), rng.choices(kinds, shares)[0]) for _ in range(count)]
        return sorted(found, key=lambda event: event.at_s)


def _event(rng: random.Random, at_s: float, kind: str) -> Event:
    target, seconds = rng.randrange(24), round(rng.choice((5, 20, 45, 60, 120, 240)) * rng.uniform(0.5, 1.5), 1)
    share, detail = rng.choice((0.1, 0.3, 0.6, 1.0)), ""
    match kind:
        case "host_dies":
            seconds = rng.choice((0.0, 90.0, 400.0, 900.0))
        case "container_crashes":
            detail = rng.choice(("reboot helps", ""))
        case "provider_fails":
            detail = rng.choice(FAULTS)
        case "operator":
            detail = rng.choice(COMMANDS)
        case "replica_is_cut":
            detail = rng.choice(CUTS)
        case "replica_is_killed":
            seconds = rng.choice((1.0, 5.0, 30.0))
        case "store_is_down":
            detail = rng.choice(("for all", ""))
        case "clock_steps":
            detail = rng.choice(("forward", "back"))
        case "store_loses_replies":
            share = rng.choice((0.02, 0.1, 0.3))
        case _:
            pass
    return Event(round(at_s, 3), kind, target, seconds, detail, share)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("S1", "broker outage: everyone looks dead", {"broker_is_down": 3, "fetches_are_empty": 2, "partition_stalls": 2}),
        Scenario("S2", "the daemon is paused and goes on", {"replica_is_frozen": 6}, (1, 2, 2)),
        Scenario("S3", "the old instance speaks in the middle of a failover", {"container_freezes": 4, "host_dies": 2, "beats_come_late": 2}),
        Scenario("S4", "agent dead, workload alive, and the reverse", {"agent_dies": 4, "gpu_breaks": 2, "rental_ends": 1, "provider_fails": 2}),
        Scenario("S5", "two replicas own one machine", {"replica_is_cut": 4, "store_is_down": 1, "group_rebalances": 3, "replica_is_frozen": 2}, (2, 3)),
        Scenario("S6", "crash at every boundary", {"replica_is_killed": 8}, (1, 2)),
        Scenario("S7", "provider chaos with unknown outcomes", {"provider_fails": 8}),
        Scenario("S8", "commands: duplicate, late, conflicting, cancelled", {"operator": 8, "log_is_replayed": 1}),
        Scenario("S9", "heartbeats: replay, disorder, skew, poison", {"log_is_replayed": 2, "beats_come_late": 3, "beats_come_twice": 2, "broker_clock_steps": 1, "clock_steps": 1, "poison": 2}),
        Scenario("S10", "state database outage, and the pause flag", {"store_is_down": 3, "store_is_slow": 2, "store_loses_replies": 2, "pause_is_unreadable": 2, "operator": 1}),
        Scenario("S11", "real mass failure with too few spares", {"host_dies": 4, "container_crashes": 3}, deaths=5),
        Scenario("S12", "flapping machine, failing candidate, second failure", {"container_crashes": 4, "newest_rental_dies": 4, "standby_ends": 1, "container_freezes": 2}),
    )
}  # fmt: skip
