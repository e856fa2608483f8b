"""Offers that this process has asked for. An offer makes one rental, so machines that fail over together must not queue up
for the same one: each create takes seconds of everybody's turn (facts/vast-api.md, section 3)."""

from __future__ import annotations

from machines.model import Label, OfferId
from machines.ports import Clock

_KEPT_S = 600.0
"""Then an offer that was gone may have come back."""


class Taken:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[OfferId, tuple[float, Label]] = {}

    def __contains__(self, offer: OfferId) -> bool:
        found = self._since.get(offer)
        return found is not None and self._clock.monotonic() - found[0] < _KEPT_S

    def take(self, offer: OfferId, label: Label) -> bool:
        """False where somebody of us has asked for it."""
        if offer in self:
            return False
        now = self._clock.monotonic()
        self._since = {other: found for other, found in self._since.items() if now - found[0] < _KEPT_S}
        self._since[offer] = (now, label)
        return True

    def give_back(self, label: Label) -> None:
        """What was taken for this claim is still there, or there again, as far as anybody knows."""
        self._since = {offer: found for offer, found in self._since.items() if found[1] != label}
