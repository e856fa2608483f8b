"""What was found amiss at every look for a while: one look is no proof, for a list may lack what is there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, TypeVar

from machines.ports import Clock

K = TypeVar("K")


class Lasting(Generic[K]):
    """Counted by the clock and in memory: after a restart it begins anew."""

    def __init__(self, clock: Clock, for_s: float) -> None:
        self._clock = clock
        self._for_s = for_s
        self._since: dict[K, float] = {}

    def lasts(self, key: K, is_so: bool) -> bool:
        """Is it so now, and was it at every look of the last `for_s` seconds?"""
        if not is_so:
            self.forget(key)
            return False
        now = self._clock.monotonic()
        return now - self._since.setdefault(key, now) >= self._for_s

    def forget(self, key: K) -> None:
        self._since.pop(key, None)

    def keep(self, keys: Collection[K]) -> None:
        """Forget all the others: nobody asks about them any more."""
        self._since = {key: since for key, since in self._since.items() if key in keys}
