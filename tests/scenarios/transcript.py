"""What was said and done, as lines that a person reads: states, alerts, failovers, changes at the provider."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from daemon.simulation.books import Books
from daemon.simulation.history import History
from machines.ports import Clock

_STEP = re.compile(r"machine \d+: [a-z_]+ [a-z_]+$")
_FAILOVER = re.compile(r"\b(fo_[a-z0-9]+)")
_FOR_MANY = re.compile(r"\d+:\d+  (\* |.*failover fo-|.*alert (?!machine-)|operator|BROKEN)|never seen")
_CALL = re.compile(r"  ((?:create|destroy|stop|start|reboot|(?:create|clone|delete) volume|label) \S+: .+)$")
_CALLS_SHOWN = 2
_UNHEARD = frozenset({"weather", "provider"})
"""What the script itself says, and what the provider says to others."""


@dataclass(slots=True)
class Telling(History):
    """A history whose events are handed on as they are told."""

    hear: Callable[[str, str], None] = lambda who, what: None

    def tell(self, who: str, what: str) -> None:
        History.tell(self, who, what)
        self.hear(who, what)


@dataclass(slots=True)
class Transcript:
    """Times are minutes and seconds since the story began; what came before is not told."""

    clock: Clock
    books: Books
    many: bool
    """Is there more than one replica? Then each line says whose it is."""
    lines: list[str] = field(default_factory=list)
    began: float | None = None
    is_calm: bool = False
    alerts: dict[str, str] = field(default_factory=dict)
    _numbers: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        self.began = self.clock.monotonic()
        self.alerts = self.books.alerts()

    def hear(self, who: str, what: str) -> None:
        """From the history."""
        if self.is_calm and who == "operator":
            return  # Automatic action is resumed, whether it was paused or not.
        if who not in _UNHEARD and not _STEP.match(what):
            self.say(what, who)

    def say(self, what: str, who: str = "") -> None:
        if self.began is None:
            return
        minutes, rest = divmod(int(self.clock.monotonic() - self.began), 60)
        whose = f"{who}  " if self.many and who.startswith("replica") else ""
        mark = {"operator": "operator: ", "ORACLE": "BROKEN: "}.get(who, "")
        self.lines.append(f"{minutes:02d}:{rest:02d}  {whose}{mark}{self._plain(what)}")

    def look(self, who: str) -> None:
        """After a commit: which alerts were raised, resolved or worded anew?"""
        now = self.books.alerts()
        for key, text in now.items():
            if key not in self.alerts or _worded(self.alerts[key]) != _worded(text):
                self.say(f"alert {key}: {text}", who)
        for key in self.alerts.keys() - now.keys():
            self.say(f"alert {key} is over", who)
        self.alerts = now

    def _plain(self, text: str) -> str:
        """Failovers are counted, not named."""
        return _FAILOVER.sub(lambda found: self._numbers.setdefault(found[1], f"fo-{len(self._numbers) + 1}"), text)


def shown(lines: Sequence[str], all_of_it: bool) -> list[str]:
    """What stands in the file: without repetitions of a call that is answered alike, and of a large fleet only the
    failovers, the fleet's alerts, and what happened."""
    seen: Counter[str] = Counter()
    kept = []
    for line in lines:
        call = _CALL.search(line)
        seen[call[1] if call else ""] += 1
        if (call is None or seen[call[1]] <= _CALLS_SHOWN) and (all_of_it or _FOR_MANY.match(line)):
            kept.append(line)
    return kept


def _worded(text: str) -> str:
    """The text without what only counts on."""
    return re.sub(r"\d+", "#", text)
