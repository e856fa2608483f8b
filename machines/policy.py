"""What an operator allows: grace, confirmation, caps, prices. All durations in seconds, all prices in $/h."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The fleet's policy; the defaults are the brakes that are on when nothing was configured."""

    grace_factor: float = 3.0
    """Grace is this many declared heartbeat intervals (facts/performance.md, section 9)."""
    grace_floor_s: float = 5.0
    grace_cap_s: float = 600.0
    confirm_after_s: float = 30.0
    """How long a silent SSH port must agree with silence before that is a death, where the provider says running."""
    probe_every_s: float = 10.0
    """The pause between two rounds of questions about a suspect."""
    first_probe_again_s: float = 2.0
    """The first such pause; it doubles up to `probe_every_s`."""
    watch_every_s: float = 60.0
    """The same, once a second source said that the suspect lives."""
    evidence_max_age_s: float = 60.0
    """Older evidence goes back to the probe instead of through admission."""
    max_concurrent: int = 10
    """Automatic failovers running at one time in the whole fleet."""
    max_per_host: int = 4
    """An automatic failover does not begin beside so many others of machines on the same host."""
    max_per_provider: int = 8
    """Nor one that will rent beside so many others that rent from the same provider."""
    retry_admission_s: float = 10.0
    gather_s: float = 45.0
    """Where places are short: so long after a machine fell silent it may still turn out to be dead and more important."""
    storm_cooldown_s: float = 300.0
    """A storm is over so long after the last machine had to wait for a place."""
    machine_cooldown_s: float = 300.0
    """From the end of an automatic failover to the next one of the same machine."""
    flap_count: int = 4
    """A machine that became suspect so often within `flap_window_s` is in quarantine."""
    flap_window_s: float = 1800.0
    quarantine_s: float = 3600.0
    """How long after the last suspicion a quarantine ends."""
    budget_window_s: float = 3600.0
    false_alarm_budget: int = 3
    """So many automatic failovers of machines that spoke again, within the window, suspend automatic action where they are at
    least half of those that ended; 0 is never."""
    failed_budget: int = 5
    """So do so many that replaced nothing."""
    suspension_s: float = 3600.0
    """How long automatic action is suspended."""
    mass_silence_fraction: float = 0.5
    mass_silence_fleet: int = 10
    """Where most of so large a fleet falls silent at once, the observer suspects itself."""
    max_price: float = 20.0
    """$/h: no replacement may cost more, whatever the machine costs now."""
    max_price_factor: float = 2.0
    """Nor more than so many times what the machine costs now, unless its registration names a price."""
    min_reliability: float = 0.95
    candidate_width: int = 2
    """How many candidates are rented at once for one replacement."""
    max_candidates: int = 16
    """How many rentals one attempt may try in all."""
    max_snapshot_age_s: float = 86400.0
    boot_timeout_s: float = 420.0
    """When a candidate that does not come up is given up."""

    def price_cap(self, wanted: float | None, present: float | None) -> float:
        """$/h that a replacement may cost: the machine's own cap, else a multiple of its present price."""
        if wanted is not None:
            return min(wanted, self.max_price)
        return self.max_price if present is None else min(self.max_price, self.max_price_factor * present)

    def grace_s(self, interval_s: float) -> float:
        """How long a machine that declares this interval may be silent, in seconds of log time."""
        return min(self.grace_cap_s, max(self.grace_floor_s, self.grace_factor * interval_s))
