"""Bad luck, drawn from the seed: boots that never serve, and offers that are gone when they are asked for."""

import random  # noqa: TID251 - seeded: the world's own generator is handed in
from enum import Enum

from adapters.sim.settings import Weather


class DeadBoot(Enum):
    """The ways in which a created instance never becomes usable (facts/vast-api.md 14.2)."""

    STUCK_LOADING = "stuck_loading"
    STUCK_CREATED = "stuck_created"
    SSH_REFUSED = "ssh_refused"
    PORT_CLASH = "port_clash"
    NO_OUTBOUND = "no_outbound"


ERROR_TEXTS = {
    DeadBoot.STUCK_CREATED: (
        "Error response from daemon: failed to create task for container: failed to create shim task: "
        "OCI runtime create failed: nvidia-container-cli: initialization error: driver rpc error: timed out"
    ),
    DeadBoot.PORT_CLASH: (
        "Error response from daemon: driver failed programming external connectivity: "
        "Bind for 0.0.0.0:40022 failed: port is already allocated"
    ),
}
GONE_STATUSES = (404, 410, 410, 400)
"""Cheap offers churn in seconds: mostly 410, sometimes as if they had never been (facts/vast-api.md 3)."""


def draw_boot(rng: random.Random, weather: Weather) -> DeadBoot | None:
    """Whether the next boot is dead, and how."""
    if weather.dead_boot_rate <= 0 or rng.random() >= weather.dead_boot_rate:
        return None
    return rng.choice(tuple(DeadBoot))


def draw_offer_gone(rng: random.Random, weather: Weather) -> int | None:
    """The status with which the offer that was just asked for turns out to be gone, or None."""
    if weather.offer_gone_rate <= 0 or rng.random() >= weather.offer_gone_rate:
        return None
    return rng.choice(GONE_STATUSES)
