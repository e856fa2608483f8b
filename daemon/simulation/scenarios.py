"""The twelve hardest situations of the safety reference as weather: which events, how often, and how many replicas."""

from __future__ import annotations

import random  # noqa: TID251 - seeded: the weather follows from the seed alone
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.sim.settings import VolumeSharing
from daemon.simulation.theatre import POLICY, REGIONAL_HOSTS, Plan
from daemon.simulation.weather import Event
from machines.pool import Wanted

STRATEGIES = ("warm_pool", "cpu_standby", "both")
"""Of a play of all on the usual land."""
REGIONAL = "regional_volume"
"""It needs a larger land, which costs time: of the plays of all, one in four is there, with every strategy."""
LARGE_LAND = 0.25
WITH_POOL = ("warm_pool", "both")
"""Of a play in which warm pools are rented from nothing."""
REGIONAL_POLICY = {**POLICY, "replica_every_s": 600.0}
"""So often that copies are made again within a play."""
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
VM_FAULTS = (
    *(
        "status /compute/* 503",
        "status compute.insert 503",
        "status compute.get 500",
        "status_after compute.insert 502",
    ),
    *("timeout_before compute.insert 0", "timeout_after compute.insert 0", "timeout_after compute.delete 0"),
    *("timeout_after compute.start 0", "status compute.wait 500", "empty_list compute.aggregatedList 0"),
    *("partial_list compute.aggregatedList 0", "malformed compute.get 0", "auth_error compute.get 0"),
)
VOLUME_FAULTS = (
    "timeout_after clone_volume 0",
    "timeout_before clone_volume 0",
    "status_after clone_volume 502",
    "malformed clone_volume 0",
    "partial_list list_volumes 0",
    "empty_list search_volumes 0",
    "status_after delete_volume 502",
)
"""Of the strategy that makes volumes, beside the others."""
POOL_FAULTS = (
    "timeout_after create_volume 0",
    "timeout_before create_volume 0",
    "status_after create_volume 502",
    "malformed create_volume 0",
    "empty_list search_volumes 0",
    "status_after delete_volume 502",
)
"""Of warm pools that are rented from nothing, beside the others."""
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
    minutes: int = 25
    """Of weather; the beginning and the calm at the end make them more than thirty in all."""
    a_minute: float = 1.4
    """Events in a simulated minute of weather, at the least one."""
    fixed: tuple[Event, ...] = ()
    """A story that was written by hand: these events and no others."""
    cpu_vms: bool = False
    deaths: int = 2
    """Machines that die early, whatever else happens."""
    pools: bool = False
    """Are the machines' warm pools rented for them, as operators ask, from nothing?"""

    def plan(self, seed: int, strategy: str) -> Plan:
        rng = random.Random(f"{self.name}/{seed}/plan")
        machines = rng.randint(3, 8)
        chosen = self._strategies(seed, strategy)
        strategies = tuple(rng.choice(chosen) if len(chosen) > 1 else strategy for _ in range(machines))
        sharing: VolumeSharing = "allowed" if rng.random() < 0.75 else "refused"
        plan = Plan(seed, machines, rng.choice(self.replicas), strategies, sharing, cpu_vms=self.cpu_vms)
        if self.pools:
            plan = replace(plan, pools=tuple(_pool(rng, one) for one in strategies))
        return replace(plan, hosts=REGIONAL_HOSTS, policy=REGIONAL_POLICY) if REGIONAL in chosen else plan

    def _strategies(self, seed: int, strategy: str) -> tuple[str, ...]:
        """Of which each machine has one; those of a large land bring its own troubles."""
        if self.pools:
            return (strategy,) if strategy in WITH_POOL else WITH_POOL
        if strategy != "all":
            return (strategy,)
        is_large = random.Random(f"{self.name}/{seed}/land").random() < LARGE_LAND
        return (*STRATEGIES, REGIONAL) if is_large else STRATEGIES

    def events(self, seed: int, strategy: str) -> list[Event]:
        if self.fixed:
            return list(self.fixed)
        rng = random.Random(f"{self.name}/{seed}/weather")
        volumes = VOLUME_FAULTS if REGIONAL in self._strategies(seed, strategy) else ()
        faults = (*FAULTS, *volumes, *(POOL_FAULTS if self.pools else ()))
        weights = {**EVERYWHERE}
        for kind, weight in self.trouble.items():
            weights[kind] = weights.get(kind, 0.0) + weight
        kinds, shares = list(weights), list(weights.values())
        found = [
            _event(rng, 20.0 + 40.0 * place, rng.choice(("host_dies", "container_crashes")), faults)
            for place in range(self.deaths)
        ]
        for minute in range(self.minutes):
            count = 1 + (rng.random() < self.a_minute - 1)
            found += [
                _event(rng, 60.0 * (minute + rng.random()), rng.choices(kinds, shares)[0], faults) for _ in range(count)
            ]
        return sorted(found, key=lambda event: event.at_s)


def _pool(rng: random.Random, strategy: str) -> Wanted:
    """One that stands ready on another host is of use to `both` alone: a failover lands there with a snapshot."""
    return rng.choice((Wanted.FIRST, Wanted.ELSEWHERE)) if strategy == "both" else Wanted.FIRST


def _event(rng: random.Random, at_s: float, kind: str, faults: Sequence[str]) -> Event:
    target, seconds = rng.randrange(24), round(rng.choice((5, 20, 45, 60, 120, 240)) * rng.uniform(0.5, 1.5), 1)
    share, detail = rng.choice((0.1, 0.3, 0.6, 1.0)), ""
    match kind:
        case "host_dies":
            seconds = rng.choice((0.0, 90.0, 400.0, 900.0))
        case "container_crashes":
            detail = rng.choice(("reboot helps", ""))
        case "provider_fails":
            detail = rng.choice(faults)
        case "vm_provider_fails":
            detail = rng.choice(VM_FAULTS)
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

BESIDE = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "V1",
            "CPU VMs beside the machines: reclaimed, deleted, out of stock, and their provider in bad weather",
            {
                "vm_provider_fails": 4,
                "vm_is_reclaimed": 3,
                "vm_is_deleted": 2,
                "zone_is_exhausted": 3,
                "replica_is_killed": 3,
            },
            cpu_vms=True,
        ),
        Scenario(
            "P1",
            "warm pools that are rented from nothing, while machines, hosts and replicas die and answers are lost",
            {
                "provider_fails": 4,
                "replica_is_killed": 4,
                "host_dies": 2,
                "container_crashes": 2,
                "store_loses_replies": 1,
                "prepared_ends": 2,
                "standby_ends": 1,
            },
            pools=True,
        ),
    )
}
"""Situations that are not of the safety reference; played where they are named."""
