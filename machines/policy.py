"""What an operator allows: grace, confirmation, caps, prices. All durations in seconds, all prices in $/h."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, Protocol, TypeAlias

from machines.model import Machine, Mode, Setting

SettingValue: TypeAlias = str | int | float | bool
Said: TypeAlias = Mapping[str, SettingValue]
"""Settings by name, as JSON has them."""


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
    max_failover_cost: float = 10.0
    """$ that the rentals of one failover may come to before its hand-over."""
    max_fleet_price: float = 0.0
    """$/h that all machines and running failovers together may cost; 0 is no bound."""
    max_spend: float = 0.0
    """$ that failovers may come to within `spend_window_s`; 0 is no bound."""
    spend_window_s: float = 86400.0
    min_reliability: float = 0.95
    min_inet_down_mbps: float = 100.0
    """A replacement fetches an image and a snapshot."""
    candidate_width: int = 2
    """How many candidates are rented at once for one replacement."""
    accepted_odds: float = 0.2
    """More are rented until the odds that all of them are dead boots, by the record, are no higher; 1 is never."""
    max_candidates: int = 16
    """How many rentals one attempt may try in all."""
    max_snapshot_age_s: float = 86400.0
    boot_timeout_s: float = 420.0
    """When a candidate that does not come up is given up."""
    credit_hours: float = 6.0
    """The account's credit must pay the present bill for so long; below that one alert stands."""
    contract_notice_days: float = 3.0
    """A rental whose contract ends so soon is told: its end is a failover that can be planned."""

    replica_every_s: float = 21600.0
    """How old the copy of a regional volume on another host may become before a fresh one is made; 0 keeps none."""
    deletes_orphan_volumes: bool = True
    """Volumes that bear our names and that nothing explains are deleted; else they are only told."""
    destroys_orphans: bool = True
    """Instances and VMs that bear our label and that nothing explains are destroyed; else they are only told."""

    strategy: Setting = Setting.CPU_STANDBY
    """Of every machine that was not told one of its own; so are the next two."""
    auto_failover: Mode = Mode.ON
    priority: int = 0

    def price_cap(self, wanted: float | None, present: float | None) -> float:
        """$/h that a replacement may cost: the machine's own cap, else a multiple of its present price."""
        if wanted is not None:
            return min(wanted, self.max_price)
        return self.max_price if present is None else min(self.max_price, self.max_price_factor * present)

    def grace_s(self, interval_s: float) -> float:
        """How long a machine that declares this interval may be silent, in seconds of log time."""
        return min(self.grace_cap_s, max(self.grace_floor_s, self.grace_factor * interval_s))

    @property
    def fleet(self) -> Policy:
        """A policy is the book in which nothing was said of the fleet since."""
        return self

    def of(self, machine: Machine) -> Policy:
        """The same, with what was said of this machine alone."""
        return with_said(self, machine.own.values) if machine.own.values else self

    def origin(self, name: str) -> Origin:
        """Who said what this setting is for the fleet."""
        return Origin.DEFAULT

    def as_said(self, said: Said) -> Policy:
        """Nothing can be said to a policy alone."""
        return self

    def take(self, said: Said) -> bool:
        """The same."""
        return False


class Policies(Protocol):
    """What counts now: for the fleet, and for one machine. Asked anew at each use, for it changes while the daemon runs."""

    @property
    def fleet(self) -> Policy: ...

    def of(self, machine: Machine) -> Policy: ...

    def origin(self, name: str) -> Origin:
        """Who said what this setting is for the fleet."""
        ...

    def as_said(self, said: Said) -> Policy:
        """The fleet's, were this what was said of it; it does not count by this."""
        ...

    def take(self, said: Said) -> bool:
        """What was said of the whole fleet, as stored: it counts from now on. False where that is no news."""
        ...


class Origin(Enum):
    """Who said what a setting is; the later goes before the earlier."""

    DEFAULT = "default"
    FILE = "file"
    """The configuration's `policy`, a file or the environment."""
    FLEET = "fleet"
    """The API, a command or the command line, of all machines."""
    MACHINE_FILE = "machine_file"
    """The configuration's `machines`."""
    MACHINE = "machine"
    """The API, a command or the command line, of this one machine."""


OF_THE_MACHINE_ITSELF = ("strategy", "auto_failover", "priority", "max_price")
"""Settings that are fields of the machine: the queue is counted by them in the database."""
INHERITABLE = OF_THE_MACHINE_ITSELF[:3]
"""`max_price` needs no mark: a machine without a price of its own has none."""
OF_THE_FLEET = frozenset(
    {
        "max_concurrent",
        "max_per_host",
        "max_per_provider",
        "retry_admission_s",
        "gather_s",
        "storm_cooldown_s",
        "budget_window_s",
        "false_alarm_budget",
        "failed_budget",
        "suspension_s",
        "mass_silence_fraction",
        "mass_silence_fleet",
        "max_fleet_price",
        "max_spend",
        "spend_window_s",
        "credit_hours",
        "deletes_orphan_volumes",
        "destroys_orphans",
    }
)
"""What only the whole fleet can have."""
NAMES = tuple(one.name for one in fields(Policy))
OF_A_MACHINE = tuple(name for name in NAMES if name not in OF_THE_FLEET)


def settled(machine: Machine, fleet: Policy) -> Machine:
    """The machine with what it inherits as the fleet's policy says it now."""
    inherits = machine.own.inherits
    if not inherits:
        return machine
    return replace(
        machine,
        setting=fleet.strategy if "strategy" in inherits else machine.setting,
        mode=fleet.auto_failover if "auto_failover" in inherits else machine.mode,
        priority=fleet.priority if "priority" in inherits else machine.priority,
    )


def is_settled(machine: Machine, fleet: Policy) -> bool:
    """Would `settled` change nothing? Asked of whole fleets."""
    inherits = machine.own.inherits
    return (
        ("strategy" not in inherits or machine.setting is fleet.strategy)
        and ("auto_failover" not in inherits or machine.mode is fleet.auto_failover)
        and ("priority" not in inherits or machine.priority == fleet.priority)
    )


def with_own(machine: Machine, names: Iterable[str], by_file: bool) -> Machine:
    """The machine whose settings of these names are its own from now on, and not the fleet's."""
    wanted, own = tuple(sorted(names)), machine.own
    if not wanted:
        return machine
    inherits = tuple(name for name in own.inherits if name not in wanted)
    from_file, said = _without(own.from_file, wanted), _without(own.said, wanted)
    if by_file:
        from_file = tuple(sorted((*from_file, *wanted)))
    else:
        said = tuple(sorted((*said, *wanted)))
    return replace(machine, own=replace(own, inherits=inherits, from_file=from_file, said=said))


def without_own(machine: Machine, names: Iterable[str], fleet: Policy) -> Machine:
    """The machine whose settings of these names follow the fleet's from now on."""
    taken, own = tuple(names), machine.own
    inherits = tuple(name for name in INHERITABLE if name in own.inherits or name in taken)
    values = {name: value for name, value in own.values.items() if name not in taken}
    back = replace(own, values=values, inherits=inherits)
    back = replace(back, from_file=_without(own.from_file, taken), said=_without(own.said, taken))
    workload = replace(machine.workload, max_price=None) if "max_price" in taken else machine.workload
    return settled(replace(machine, own=back, workload=workload), fleet)


def _without(names: tuple[str, ...], taken: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in taken)


def with_values(machine: Machine, values: Said, by_file: bool) -> Machine:
    """The machine with these settings as its own. They were checked before."""
    changed = with_own(machine, values, by_file)
    numbers = {name: value for name, value in values.items() if name not in OF_THE_MACHINE_ITSELF}
    kept = {**changed.own.values, **numbers}
    setting, mode, priority = (values.get(name) for name in INHERITABLE)
    price = values.get("max_price")
    return replace(
        changed,
        own=replace(changed.own, values={name: value for name, value in kept.items() if not isinstance(value, str)}),
        setting=machine.setting if setting is None else Setting(setting),
        mode=machine.mode if mode is None else Mode(mode),
        priority=machine.priority if priority is None else int(priority),
        workload=machine.workload if price is None else replace(machine.workload, max_price=float(price)),
    )


def own_names(machine: Machine) -> tuple[str, ...]:
    """The settings that are the machine's own."""
    own = machine.own
    price = ("max_price",) if machine.workload.max_price is not None else ()
    return (*(name for name in INHERITABLE if name not in own.inherits), *price, *sorted(own.values))


def origin_of(name: str, machine: Machine, of_the_fleet: Origin) -> Origin:
    """Who said what this setting is for the machine; `of_the_fleet` said what it is for the others."""
    if name not in own_names(machine):
        return of_the_fleet
    return Origin.MACHINE_FILE if name in machine.own.from_file else Origin.MACHINE


def value_of(name: str, machine: Machine, policy: Policy) -> SettingValue:
    """What the setting is for the machine, as JSON has it; `policy` is what counts for it."""
    match name:
        case "strategy":
            return machine.setting.value
        case "auto_failover":
            return machine.mode.value
        case "priority":
            return machine.priority
        case "max_price" if machine.workload.max_price is not None:
            return machine.workload.max_price
        case _:
            return plain(policy)[name]


def with_said(policy: Policy, said: Said) -> Policy:
    """The policy with these settings. They were checked before."""
    found: dict[str, Any] = dict(said)
    for name, kind in (("strategy", Setting), ("auto_failover", Mode)):
        if name in found:
            found[name] = kind(found[name])
    return replace(policy, **found)


def plain(policy: Policy) -> dict[str, SettingValue]:
    """Every setting, as JSON has it."""
    found = {name: getattr(policy, name) for name in NAMES}
    return {name: value.value if isinstance(value, Enum) else value for name, value in found.items()}
