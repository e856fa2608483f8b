"""The shortest story that still breaks: weather events are dropped as long as the violation stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daemon.simulation.run import Outcome

Play = Callable[[Sequence[int]], Outcome]
"""Plays a seed with only these of its weather events."""


def shrink(first: Outcome, count: int, play: Play, most_plays: int = 60) -> tuple[Outcome, tuple[int, ...]]:
    """The outcome with the fewest events that still violates the same invariant, and their places.

    Halves are tried before single events (ddmin); `most_plays` bounds the work.
    """
    wanted = {violation.invariant for violation in first.violations}
    kept, best, plays = tuple(range(count)), first, 0
    size = max(1, len(kept) // 2)
    while plays < most_plays:
        dropped = False
        for start in range(0, len(kept), size):
            rest = kept[:start] + kept[start + size :]
            plays += 1
            outcome = play(rest)
            if wanted & {violation.invariant for violation in outcome.violations}:
                kept, best, dropped = rest, outcome, True
                break
            if plays >= most_plays:
                break
        if not dropped:
            if size == 1:
                break
            size //= 2
        size = max(1, min(size, len(kept) // 2))
        if not kept:
            break
    return best, kept
