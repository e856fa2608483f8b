"""What is rented ahead of its need, and what is left of it where it was refused."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.rented_ahead import RentedAhead, claim_of
from machines.errors import Refused
from machines.model import Claim, Debt, DebtKind, InstanceId, Label, MachineId
from tests.test_api_stage import BEGIN, stage

LABEL = Label("fo-x-m123-standby-1-0")


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


class Refusing:
    """A cloud in which what is rented comes up stopped, or whose offers are gone."""

    def __init__(self, leaves_rental: bool) -> None:
        self._leaves_rental = leaves_rental

    async def rent(self, claim: Claim) -> InstanceId:
        raise Refused("no_offer_matches", "no", leaves_rental=self._leaves_rental)


@pytest.mark.parametrize("leaves_rental", [True, False])
async def test_a_refused_rental_leaves_the_debt_free_and_what_came_into_being_is_owed_its_end(
    leaves_rental: bool,
) -> None:
    async with stage() as s:
        await s.machine()
        rearm = Debt(DebtKind.REARM, MachineId(123), None, None, None, None, "it has no standby", due_at=BEGIN)
        await s.store.transact(lambda tx: tx.add_debts([rearm]))
        (debt,) = await s.store.transact(lambda tx: tx.open_debts())
        cloud: Any = Refusing(leaves_rental)
        policies: Any = None
        ahead = RentedAhead(s.store, cloud, policies, s.clock)
        with pytest.raises(Refused):
            await ahead.rent(debt, MachineId(123), claim_of(LABEL, BEGIN))
        left = [(one.kind, one.label) for one in await s.store.transact(lambda tx: tx.open_debts())]
        ended = [(DebtKind.DESTROY_CLAIM, LABEL)] if leaves_rental else []
        assert left == [(DebtKind.REARM, None), *ended]
