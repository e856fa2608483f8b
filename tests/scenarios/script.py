"""Reads a scenario file.

# Prose: what it is about, and what must hold.
machines: 6                    or "1-3 cpu_standby, 4-6 warm_pool"; the rest of the fleet's words have defaults
must: 1 failover of machine 2  checked whatever the transcript says

+10s  broker stops             after the fleet has settled
on restore waiting of machine 2
    +0s  host of machine 2 returns
----
the transcript, as it was seen
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.sim.settings import VolumeSharing
from daemon.simulation.theatre import Plan

BORDER = "----"
_FACTORS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_TIME = re.compile(r"\+?(\d+(?:\.\d+)?) ?(s|min|h)$")
_HAPPENS = re.compile(r"\+(\d+(?:\.\d+)?)(s|min|h)\s+(.+)$")


class Unreadable(Exception):
    """The file says something that nobody understands; the text names the line."""


@dataclass(frozen=True, slots=True)
class Happening:
    """What happens so many seconds after the beginning, or after its trigger."""

    at_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Trigger:
    """The first time that this is seen: "step mark", "call what" or "answer what", of one machine or of any."""

    seen: str
    machine: int | None
    then: tuple[Happening, ...]


@dataclass(slots=True)
class Script:
    prose: list[str] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    musts: list[str] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    head: str = ""
    """The file down to the border, as it stands."""

    @property
    def until_s(self) -> float:
        return seconds(self.words.get("until", "15 min"))

    @property
    def ends_calmly(self) -> bool:
        """Is the weather cleared at the end, and everything waited for?"""
        return self.words.get("end", "calm") == "calm"

    @property
    def shows_all(self) -> bool:
        """Else the transcript has the failovers and the alerts alone: of a large fleet nobody reads more."""
        return self.words.get("shows", "all") == "all"

    def plan(self) -> Plan:
        strategies = _strategies(self.words.get("machines", "3"), self.words.get("strategy", "cpu_standby"))
        sharing: VolumeSharing = "refused" if self.words.get("sharing") == "refused" else "allowed"
        policy = {"max_concurrent": 3.0, **_policy(self.words.get("policy", ""))}
        return Plan(
            seed=int(self.words.get("seed", "1")),
            machines=len(strategies),
            replicas=int(self.words.get("replicas", "1")),
            strategies=strategies,
            sharing=sharing,
            interval_s=seconds(self.words.get("interval", "10 s")),
            partitions=int(self.words.get("partitions", "3")),
            hosts=int(self.words.get("hosts", "16")),
            policy=policy,
        )


_WORDS = frozenset(
    [
        "machines",
        "strategy",
        "sharing",
        "policy",
        "seed",
        "replicas",
        "interval",
        "partitions",
        "hosts",
        "until",
        "end",
        "shows",
    ]
)


def read(text: str) -> Script:
    """Raise Unreadable."""
    head, _, expected = text.partition(f"\n{BORDER}\n")
    script = Script(head=head, expected=expected.splitlines())
    for number, line in enumerate(head.splitlines(), 1):
        try:
            _read_line(script, line.rstrip())
        except (ValueError, Unreadable) as error:
            raise Unreadable(f"line {number}: {line!r}: {error}") from error
    return script


def _read_line(script: Script, line: str) -> None:
    name, colon, said = line.partition(":")
    if not line:
        return
    if line.startswith("#"):
        script.prose.append(line.removeprefix("#").strip())
    elif line[0].isspace():
        last = script.triggers.pop()
        script.triggers.append(Trigger(last.seen, last.machine, (*last.then, happening(line.strip()))))
    elif line.startswith("+"):
        script.happenings.append(happening(line))
    elif line.startswith("on "):
        seen, _, machine = line.removeprefix("on ").partition(" of machine ")
        script.triggers.append(Trigger(seen.strip(), int(machine) if machine else None, ()))
    elif colon and name == "must":
        script.musts.append(said.strip())
    elif colon and name in _WORDS:
        script.words[name] = said.strip()
    else:
        raise Unreadable("no such word")


def happening(line: str) -> Happening:
    found = _HAPPENS.match(line)
    if found is None:
        raise Unreadable("it must say when, as in '+10s broker stops'")
    return Happening(float(found[1]) * _FACTORS[found[2]], found[3].strip())


def seconds(text: str) -> float:
    found = _TIME.match(text.strip())
    if found is None:
        raise Unreadable(f"{text!r} is no time, as '10 s' or '5 min' is")
    return float(found[1]) * _FACTORS[found[2]]


def numbers(text: str) -> tuple[int, ...]:
    """ "3", "3-5" and "1-3,7"."""
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _strategies(machines: str, usual: str) -> tuple[str, ...]:
    if machines.isdigit():
        return (usual,) * int(machines)
    chosen: dict[int, str] = {}
    for part in machines.split(", "):
        which, strategy = part.split()
        chosen.update(dict.fromkeys(numbers(which), strategy))
    return tuple(chosen[number] for number in sorted(chosen))


def _policy(text: str) -> dict[str, float]:
    pairs: Sequence[str] = text.replace(",", " ").split()
    return {name: float(value) for name, _, value in (pair.partition("=") for pair in pairs)}
