"""The numbers of the simulated world: durations, lags, limits and rates, each with its source in the fact sheet.

Durations are simulated seconds. A scaled clock shortens them all alike, so no duration is scaled here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

VolumeSharing = Literal["allowed", "refused"]
WeatherName = Literal["calm", "hard"]

INTERVALS: Mapping[str, float] = {
    "search_offers": 2.0,
    "query_offers": 0.8,
    "search_asks": 2.0,
    "recommend_bid": 0.8,
    "create_instance": 4.5,
    "show_instance": 2.0,
    "list_instances": 1.0,
    "change_instance": 1.0,
    "reboot_instance": 1.0,
    "recycle_instance": 1.0,
    "change_bid": 5.5,
    "destroy_instance": 3.0,
    "change_instances": 4.0,
    "destroy_instances": 3.0,
    "search_volumes": 2.0,
    "create_volume": 1.0,
    "list_volumes": 2.0,
    "delete_volume": 2.0,
    "clone_volume": 1.0,
    "spend_rate": 7.0,
    "list_charges": 2.0,
    "list_keys": 1.0,
    "add_key": 1.0,
    "change_key": 1.0,
    "delete_key": 1.0,
    "list_instance_keys": 2.0,
    "attach_key": 2.0,
    "detach_key": 2.0,
    "list_webhooks": 2.0,
    "create_webhook": 2.0,
    "change_webhook": 2.0,
    "delete_webhook": 2.0,
    "rotate_webhook": 2.0,
    "test_webhook": 2.0,
}
"""Minimum seconds between two calls of one operation by one key (facts/vast-api.md, "Operations at a glance", 8)."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How unkind the market is: the share of boots that never serve, and of offers that are gone when asked for."""

    dead_boot_rate: float = 0.0
    offer_gone_rate: float = 0.0


CALM = Weather()
HARD = Weather(dead_boot_rate=0.58, offer_gone_rate=0.6)
WEATHERS: Mapping[str, Weather] = {"calm": CALM, "hard": HARD}


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """Everything that a test or a demo may turn; the defaults are facts/vast-api.md 14.1."""

    hosts: int = 32
    weather: Weather = CALM
    volume_sharing: VolumeSharing = "allowed"
    public_address: str = "127.0.0.1"
    credit: float = 250.0

    invisible_seconds: float = 2.0
    """Read-after-write: a new contract is in no listing for this long."""
    volume_invisible_seconds: float = 0.0
    """The same of a new volume; nobody has written how long it is."""
    null_seconds: float = 5.0
    created_seconds: float = 1.0
    boot_seconds: float = 73.0
    """From the create call to `running`, with the image in the host's cache."""
    ssh_seconds: float = 12.0
    """From `running` to an SSH port that answers."""
    stop_seconds: float = 15.0
    start_seconds: float = 30.0
    """From a granted start to `running`; the stale `exited` is shown meanwhile."""
    reboot_seconds: float = 20.0
    outbid_seconds: float = 1.4
    flip_seconds: float = 20.0
    """From a GPU that becomes free to the change of state of the instance that waits for it."""
    resume_seconds: float = 50.0
    unknown_seconds: float = 30.0
    offline_seconds: float = 120.0
    release_seconds: float = 30.0
    """From an instance's destruction to the release of its volume."""
    gone_seconds: float = 600.0
    """How long a GPU that was snatched away stays with the other tenant."""
    contract_days: float = 30.0

    vm_zones: tuple[str, ...] = ("europe-west4-a", "europe-west4-b", "europe-west1-b", "us-central1-a")
    vm_page: int = 500
    """The most VMs on one page of a list."""
    vm_boot_seconds: float = 20.0
    """From a VM's creation to its operation's end."""
    vm_start_seconds: float = 15.0
    vm_stop_seconds: float = 20.0
    vm_stockout_seconds: float = 8.0
    """From an accepted call to the end of its operation, where the zone has no capacity."""

    search_seconds: float = 1.3
    create_seconds: float = 1.6
    destroy_seconds: float = 0.5

    snapshot_interval: float = 120.0
    snapshots_kept: int = 3
    snapshot_gigabytes: tuple[float, float] = (2.0, 8.0)
    restore_megabytes_per_second: tuple[float, float] = (200.0, 400.0)

    intervals: Mapping[str, float] = field(default_factory=lambda: dict(INTERVALS))
    too_frequent_form: int = 4
    """Which of the five 429 bodies is sent (facts/vast-api.md 11.2)."""
    webhook_seconds: float = 15.0
    """From an event to its webhook (facts/vast-api.md 12)."""
    webhook_lost_rate: float = 0.0
    webhook_double_rate: float = 0.0
    """The share of events that arrive twice."""
    penalty_seconds: float = 0.0
    """What every rejected call adds to the wait: hammering prolongs the block (11.1)."""
