"""The ends of a topic's partitions as one list, the newest record first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Protocol, TypeVar


class _Placed(Protocol):
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...


R = TypeVar("R", bound=_Placed)


def newest_first(partitions: Iterable[Sequence[R]], limit: int) -> list[R]:
    """Each partition's records come in the order of their offsets, and go out in the opposite one whatever their times
    are: so what is left of a partition is all that lies before its last record here."""
    backwards = [records[::-1] for records in partitions]
    return list(islice(heapq.merge(*backwards, key=lambda record: (-record.timestamp, -record.offset)), limit))
