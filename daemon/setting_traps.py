"""Settings that are allowed and do not do what whoever wrote them wanted: told at a check and at the start, with a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import structlog

from daemon.agent_settings import AgentSettings
from daemon.setting_faults import Fault, Path
from daemon.setting_layers import Source
from daemon.settings import Loaded, MachineEntry, Settings

log = structlog.get_logger(__name__)

_USUAL_INTERVAL_S = AgentSettings(machine_id=0, instance_id=0).interval_s
_BOOT_S = 120.0
"""Of a rental that has to fetch its image first."""
_LOOPBACK = ("127.", "localhost", "[::1]", "::1")


def traps(loaded: Loaded) -> list[Fault]:
    """Warnings, in the form of faults: nothing in them is an error."""
    found: list[Fault] = []

    def warn(place: Path, text: str, remedy: str) -> None:
        found.append(Fault(str(loaded.layers.origin(place)), ".".join(place), text, remedy))

    for look in (_grace, _ages, _prices, _brakes, _reach, _machines, _rest):
        look(loaded, warn)
    return found


def warn_of_traps(loaded: Loaded) -> None:
    """At the start, a line for each."""
    for one in traps(loaded):
        log.warning("setting_is_unwise", where=one.where, setting=one.name, because=one.wrong, remedy=one.remedy)


Warn = Callable[[Path, str, str], None]


def _grace(loaded: Loaded, warn: Warn) -> None:
    policy = loaded.settings.policy.policy()
    intervals = {None: _USUAL_INTERVAL_S} | {
        number: machine.interval_s for number, machine in _numbered(loaded.settings) if machine.interval_s is not None
    }
    for number, interval_s in intervals.items():
        grace_s = policy.grace_s(interval_s)
        if grace_s >= 2 * interval_s:
            continue
        whose = "the agents' usual interval" if number is None else "its interval"
        text = f"gives a grace of {grace_s:g} s for {whose} of {interval_s:g} s: one late heartbeat makes a machine suspect"
        field = "grace_cap_s" if grace_s == policy.grace_cap_s else "grace_factor"
        place = ("policy", field) if number is None else ("machines", str(number), "interval_s")
        warn(place, text, f"raise policy.{field}: a grace of 2.5 to 3 intervals is usual")


def _ages(loaded: Loaded, warn: Warn) -> None:
    settings = loaded.settings
    every_s, allowed_s = settings.snapshots.every_s, settings.policy.max_snapshot_age_s
    if settings.snapshots.kind != "world" and every_s > allowed_s:
        text = f"is {every_s:g}, above policy.max_snapshot_age_s ({allowed_s:g}): most of the time no snapshot is young enough"
        warn(("snapshots", "every_s"), text, "take them more often, or allow older ones")
    if settings.policy.boot_timeout_s < _BOOT_S:
        text = f"is {settings.policy.boot_timeout_s:g}: a rental fetches its image first, which takes minutes"
        warn(("policy", "boot_timeout_s"), text, f"allow {_BOOT_S:g} or more (420 is the default)")


def _prices(loaded: Loaded, warn: Warn) -> None:
    policy = loaded.settings.policy
    for number, machine in _numbered(loaded.settings):
        if machine.max_price is not None and machine.max_price > policy.max_price:
            text = (
                f"is {machine.max_price:g} $/h, above policy.max_price ({policy.max_price:g}), which holds all the same"
            )
            warn(("machines", str(number), "max_price"), text, "raise policy.max_price, or lower this one")
    least = policy.max_price * policy.boot_timeout_s / 3600
    if policy.max_failover_cost < least:
        text = f"is {policy.max_failover_cost:g} $, but one rental at policy.max_price may cost {least:.2f} $ until it is given up"
        warn(("policy", "max_failover_cost"), text, "raise it, or lower max_price or boot_timeout_s")


def _brakes(loaded: Loaded, warn: Warn) -> None:
    """Zeros that were written down, and mean the opposite of what they seem to."""
    for field, meaning in (
        ("max_spend", "0 is no bound: failovers may cost anything"),
        ("max_fleet_price", "0 is no bound: machines and failovers together may cost anything"),
        ("false_alarm_budget", "0 is never: false alarms do not suspend automatic failover"),
        ("failed_budget", "0 is never: failovers that replace nothing do not suspend automatic failover"),
        ("credit_hours", "0 tells of an account without credit only when it is empty"),
    ):
        place = ("policy", field)
        if getattr(loaded.settings.policy, field) == 0 and loaded.layers.origin(place).source is not Source.DEFAULT:
            warn(place, meaning, "give a bound, or leave it out; `failoverd pause` switches automatic failover off")
    if loaded.settings.policy.mass_silence_fraction == 1:
        text = "is 1: the daemon trusts even the silence of the whole fleet, which is most often its own blindness"
        warn(("policy", "mass_silence_fraction"), text, "give a fraction below 1 (0.5 is the default)")


def _reach(loaded: Loaded, warn: Warn) -> None:
    """Beside the real provider the agents of replacements are far away."""
    settings = loaded.settings
    if is_near(settings.vast.url):
        return
    if settings.speed != 1:
        warn(("speed",), f"is {settings.speed:g} beside a real provider, whose time is not faster", "leave it out")
    reach = _reported_to(settings)
    if reach is not None:
        place, address = reach
        text = f"the agents of replacements would report to {address}, which is their own machine"
        warn(place, text, "set agent.url (or agent.kafka) to an address of this daemon that rented machines can reach")


def _reported_to(settings: Settings) -> tuple[Path, str] | None:
    """Where that is an address of loopback, the setting and the address."""
    if settings.agent.kafka is not None:
        found = ("agent", "kafka"), settings.agent.kafka
    elif settings.agent.url is not None:
        found = ("agent", "url"), settings.agent.url
    elif settings.kafka is not None:
        found = ("kafka", "bootstrap"), settings.kafka.bootstrap
    else:
        found = ("agent", "url"), f"{settings.http.scheme}://{settings.http.host}:{settings.http.port}"
    return found if is_near(found[1]) else None


def _machines(loaded: Loaded, warn: Warn) -> None:
    settings = loaded.settings
    has_snapshots = settings.snapshots.kind != "world" or is_near(settings.vast.url)
    for number, machine in _numbered(settings):
        place = ("machines", str(number), "strategy")
        if machine.strategy == "disabled" and machine.auto_failover == "on":
            warn(place, "is disabled although auto_failover is on: nothing is done for it", "choose a strategy")
        if machine.strategy in ("cpu_standby", "both") and not has_snapshots:
            text = f"is {machine.strategy}, but there is no place for snapshots: it would come back without its data"
            warn(place, text, "set snapshots.kind to s3, b2 or path")
        if machine.strategy == "warm_pool" and machine.volume_id is None:
            warn(
                place, "is warm_pool, but no volume_id is named: it has no warm pool", "name its volume_id, or use both"
            )
        others = [one.id for one in settings.machines[:number] if one.gpu_instance_id == machine.gpu_instance_id]
        if machine.gpu_instance_id is not None and others:
            text = f"is machine {others[0]}'s instance too: a failover of either would take it from the other"
            warn(("machines", str(number), "gpu_instance_id"), text, "name each machine's own instance")
    if len(settings.machines) == 1 and not settings.ssh.witnesses and not is_near(settings.vast.url):
        text = (
            "is empty, and there is one machine: nothing can show that a silent SSH port is not our own network's fault"
        )
        warn(("ssh", "witnesses"), text, "name an SSH server that is always there, like `witnesses: [github.com:22]`")


def _rest(loaded: Loaded, warn: Warn) -> None:
    kafka = loaded.settings.kafka
    if kafka is not None and kafka.security_protocol == "SASL_PLAINTEXT" and not is_near(kafka.bootstrap):
        text = "is SASL_PLAINTEXT: records, and with PLAIN the password, cross the network in the clear"
        warn(("kafka", "security_protocol"), text, "use SASL_SSL")
    for number, channel in enumerate(loaded.settings.notify.channels):
        if channel.kind == "pagerduty" and channel.level == "info":
            text = "is info: every failover that goes well wakes a person"
            warn(("notify", "channels", str(number), "level"), text, "use warning or critical")


def _numbered(settings: Settings) -> Iterator[tuple[int, MachineEntry]]:
    yield from enumerate(settings.machines)


def is_near(address: str) -> bool:
    """Is it this machine's own?"""
    host = urlsplit(address).hostname or address if "://" in address else address
    return host.startswith(_LOOPBACK)
