"""When a debt is worth a person's attention."""

from __future__ import annotations

from daemon.patience import FAILURES, Patience
from machines.model import Debt, DebtKind, InstanceId, MachineId

T0 = 1000.0


def debt(number: int) -> Debt:
    return Debt(DebtKind.DESTROY_INSTANCE, MachineId(1), None, InstanceId(7), None, None, "replaced", id=number)


def test_a_debt_that_was_closed_elsewhere_is_forgotten_and_the_others_are_counted_on() -> None:
    patience = Patience()
    for _ in range(FAILURES - 1):
        assert patience.fails(debt(1), T0) is None
        assert patience.fails(debt(2), T0) is None
    patience.keep({2})
    assert patience.fails(debt(1), T0) is None, "counted anew"
    assert patience.fails(debt(2), T0) is not None
    assert patience.waits(debt(2), T0 + 60) is None
