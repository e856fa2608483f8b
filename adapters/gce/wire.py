"""How requests reach Compute Engine: one question, one answer, in the JSON of its API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

Json: TypeAlias = Mapping[str, Any]


class ComputeWire(Protocol):
    """`what` is one of insert, get, aggregatedList, start, stop, delete, setLabels, operation, wait and region."""

    async def ask(
        self, what: str, path: Mapping[str, str], query: Mapping[str, str], body: Json | None, timeout_s: float
    ) -> tuple[int, Json]:
        """One request: the status and the body of its answer. Raise Unknown where none came within so many real seconds."""
        ...

    def close(self) -> None:
        """Nobody asks any more."""
        ...
