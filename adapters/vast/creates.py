"""What this process knows of its own creates: which labels were used, until when one may have had its effect, and
which rental it brought. Bounded, and no truth: after a restart the start of the process stands in for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from machines.model import InstanceId, Label
from machines.ports import Clock

_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class _Create:
    at: datetime
    contract: InstanceId | None = None


class Creates:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.now()
        self._known: dict[Label, _Create] = {}

    def __contains__(self, label: Label) -> bool:
        return label in self._known

    def note(self, label: Label, contract: InstanceId | None = None) -> None:
        """A create under the label is being sent, or just ended."""
        self._known[label] = _Create(self._clock.now(), contract)
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    def forget(self, label: Label) -> None:
        """Certainly nothing was created: the label is unused."""
        self._known.pop(label, None)

    def contract(self, label: Label) -> InstanceId | None:
        """The rental that the create named; a listing may not show it yet."""
        known = self._known.get(label)
        return known.contract if known else None

    def settled(self, label: Label) -> None:
        """The rental under the label is provably gone."""
        if label in self._known:
            self._known[label] = replace(self._known[label], contract=None)

    def last_effect(self, label: Label) -> datetime:
        """When a create under the label may last have had its effect. One of a former process ended when this began."""
        known = self._known.get(label)
        return known.at if known else self._began

    def born(self, instance: InstanceId) -> datetime:
        """The same of a rental."""
        found = [known.at for known in self._known.values() if known.contract == instance]
        return found[-1] if found else self._began
