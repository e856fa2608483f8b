"""When a debt that stays open is worth a person's attention: not while it makes progress within its time.

Counted in memory. A restart or another replica begins to count anew, which delays an alert and never loses one that is
open already.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta

from machines.model import Debt, DebtKind

FAILURES = 10
"""So many failures in a row are told."""
_MAY_WAIT = {
    DebtKind.STOP_INSTANCE: timedelta(hours=1),  # until a silent host returns
    DebtKind.REARM: timedelta(minutes=30),  # a free GPU on that host, a boot, and a stop
    DebtKind.PROVISION_POOL: timedelta(minutes=45),  # a market without such a host, and two boots
    DebtKind.CREATE_VM: timedelta(minutes=30),  # zones without capacity, and a boot
    DebtKind.DELETE_VM: timedelta(hours=1),  # the first copy on the VM that took its place
    DebtKind.CLONE_VOLUME: timedelta(minutes=30),  # a failover of the machine, or room elsewhere
}
_USUALLY_MAY_WAIT = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class _Course:
    """How paying one debt has gone until now."""

    began: float
    """Seconds of the monotonic clock."""
    failures: int = 0


class Patience:
    """Each method is told how one try of a debt went, and says what a person should hear of it; None is nothing yet. `now` is
    of the monotonic clock."""

    def __init__(self) -> None:
        self._courses: dict[int, _Course] = {}

    def waits(self, debt: Debt, now: float) -> str | None:
        """The try found that it takes longer: nothing is wrong, as long as it does not take much longer."""
        course = replace(self._course(debt, now), failures=0)
        self._courses[debt.id] = course
        waited = timedelta(seconds=now - course.began)
        if waited < _MAY_WAIT.get(debt.kind, _USUALLY_MAY_WAIT):
            return None
        return f"is open after {waited.total_seconds() / 60:.0f} minutes"

    def fails(self, debt: Debt, now: float) -> str | None:
        """The try was refused, or nobody knows what became of it."""
        course = self._course(debt, now)
        course = replace(course, failures=course.failures + 1)
        self._courses[debt.id] = course
        return None if course.failures < FAILURES else f"has failed {course.failures} times in a row"

    def forget(self, debt: Debt) -> None:
        """It is closed."""
        self._courses.pop(debt.id, None)

    def keep(self, still_open: Collection[int]) -> None:
        """Forget those that were closed elsewhere: dropped by their failover, or paid by another replica."""
        self._courses = {number: course for number, course in self._courses.items() if number in still_open}

    def _course(self, debt: Debt, now: float) -> _Course:
        return self._courses.get(debt.id) or _Course(now)
