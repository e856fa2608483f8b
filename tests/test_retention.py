"""What is long over is forgotten; what is open, recent, or the newest of its table stays."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select

from adapters.sql.records import CommandRow
from adapters.sql.tables import ALERTS, AUDIT, COMMANDS, DEBTS, TOKENS
from daemon.retention import Retention
from machines.model import Debt, DebtKind, InstanceId, MachineId
from tests.test_api_stage import Stage, stage

TABLES = (AUDIT, COMMANDS, ALERTS, DEBTS, TOKENS)


async def counted(s: Stage) -> list[int]:
    """In the order of TABLES, after what is long over was forgotten."""
    await Retention(s.store, s.clock).clean()
    return await s.store.transact(
        lambda tx: [tx._connection.execute(select(func.count()).select_from(table)).scalar_one() for table in TABLES]
    )


def command(s: Stage, number: int) -> CommandRow:
    return CommandRow(f"c{number}", "http", "pause", None, "f", {}, s.clock.now(), asked_by="ana")


async def filled(s: Stage, count: int = 3) -> None:
    """Of each table some that have ended; of commands, alerts and debts one that is open beside them."""
    for number in range(count):
        await s.http.post("/api/v1/tokens", json={"name": f"t{number}", "scope": "read"})
        await s.http.delete(f"/api/v1/tokens/t{number}")
    now = s.clock.now()
    debts = [
        Debt(DebtKind.STOP_INSTANCE, MachineId(number), None, InstanceId(number), None, None, "so")
        for number in range(count + 1)
    ]
    await s.store.transact(lambda tx: tx.add_debts(debts))
    for number in range(count):
        key = f"alert-{number}"
        await s.store.transact(lambda tx, key=key: (tx.raise_alert(key, "ill", now), tx.resolve_alert(key, now)))
        await s.store.transact(lambda tx, debt=number + 1: tx.pay_debt(debt, now))
        row = command(s, number)
        await s.store.transact(lambda tx, row=row: tx.insert_command(row))
        await s.store.transact(lambda tx, row=row: tx.answer_command(row.command_id, "succeeded", {}, 200, now))
    await s.store.transact(lambda tx: tx.raise_alert("open", "ill", now))
    await s.store.transact(lambda tx: tx.insert_command(command(s, count)))


async def test_what_is_over_is_kept_for_its_time_and_then_forgotten_but_for_what_is_open() -> None:
    async with stage() as s:
        await filled(s)
        audit, *begin = await counted(s)
        assert begin == [4, 4, 4, 3]
        for days, wanted in ((29, [audit, 4, 4, 4, 3]), (31, [audit, 1, 4, 4, 3]), (91, [audit, 1, 1, 1, 3])):
            await Retention(s.store, _Later(s, days)).clean()  # type: ignore[arg-type]
            assert await counted(s) == wanted
        await Retention(s.store, _Later(s, 401)).clean()  # type: ignore[arg-type]
        assert await counted(s) == [1, 1, 1, 1, 1]


class _Later:
    """The stage's clock, days later."""

    def __init__(self, s: Stage, days: int) -> None:
        self._s, self._days = s, days

    def now(self) -> datetime:
        return self._s.clock.now() + timedelta(days=self._days)

    async def breathe(self) -> None:
        await self._s.clock.breathe()


async def test_many_rows_are_forgotten_in_more_than_one_batch() -> None:
    async with stage() as s:
        await s.store.transact(lambda tx: [tx.insert_command(command(s, number)) for number in range(1201)])
        at = s.clock.now()
        await s.store.transact(
            lambda tx: [tx.answer_command(f"c{number}", "succeeded", {}, 200, at) for number in range(1201)]
        )
        await Retention(s.store, _Later(s, 31)).clean()  # type: ignore[arg-type]
        assert (await counted(s))[1] == 0
