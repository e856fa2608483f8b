"""What happened, in order: the same lines for the same seed, and their hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from machines.ports import Clock


@dataclass(slots=True)
class History:
    """Every effective commit, every call to the provider and every change of weather. `told` is what a person reads."""

    clock: Clock
    count: int = 0
    told: list[str] = field(default_factory=list)
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def note(self, who: str, what: str) -> None:
        """A detail: it counts for the hash, and is not told."""
        self.count += 1
        self._hash.update(f"{self.clock.monotonic():.6f} {who} {what}\n".encode())

    def tell(self, who: str, what: str) -> None:
        """An event of the story."""
        self.note(who, what)
        minutes, seconds = divmod(self.clock.monotonic(), 60)
        self.told.append(f"{int(minutes):02d}:{seconds:04.1f}  {who:<10} {what}")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
