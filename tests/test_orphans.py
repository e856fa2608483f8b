"""What is paid for and belongs to no machine: found, told with its cost at any replica, and destroyed only where it is ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from daemon.cli_orphans import show_orphans
from daemon.cli_output import Output
from daemon.client import ApiClient, Door
from daemon.orphan_instances import ALERT, OrphanInstances
from machines.errors import Unknown
from machines.lost import LostKind, LostThing, Standing
from machines.model import DebtKind, Instance, InstanceId, Label, Listing, MachineId
from machines.policy import Policy
from tests.test_api_stage import BEGIN, Stage, instance, stage

SIX_HOURS = 6 * 3600
DEFAULTS = Policy()


@dataclass
class Account:
    """The provider as the look sees it."""

    rows: list[Instance] = field(default_factory=list)
    is_mute: bool = False

    async def list(self) -> Listing:
        if self.is_mute:
            raise Unknown("the provider did not answer")
        return Listing({row.id: row for row in self.rows}, True, BEGIN)


def rental(number: int, label: str | None) -> Instance:
    return replace(instance(number), label=None if label is None else Label(label), price_per_hour=0.5)


@asynccontextmanager
async def account(*rows: Instance, policy: Policy = DEFAULTS) -> AsyncIterator[tuple[Stage, Account, OrphanInstances]]:
    async with stage() as s:
        provider = Account(list(rows))
        yield s, provider, OrphanInstances(s.store, provider, policy, s.clock, "fo-test")  # type: ignore[arg-type]


async def look(s: Stage, job: OrphanInstances, times: int = 3) -> set[tuple[DebtKind, InstanceId | None]]:
    """What is owed after so many looks, a minute apart."""
    for _ in range(times):
        await job.find()
        await s.clock.advance(61)
    return {(one.kind, one.instance) for one in await s.store.transact(lambda tx: tx.open_debts())}


async def told(s: Stage) -> dict[str, Any]:
    answer = await s.http.get("/api/v1/orphans")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("theirs", ["fo-test-m123-{failover}-a1-c0", "fo-test-m123-standby-12-0"])
async def test_what_became_a_machine_is_no_orphan_after_that_machine_was_removed(theirs: str) -> None:
    """Its owner keeps it, whatever it was rented as; only what nobody ever had is destroyed."""
    async with account() as (s, provider, job):
        await s.machine()
        waiting = await s.begin()
        failover = await s.win(new=500)
        await waiting
        await s.store.transact(lambda tx: [tx.pay_debt(one.id, BEGIN) for one in tx.open_debts()])
        assert await s.store.transact(lambda tx: tx.remove_machine(MachineId(123)))
        lost = f"fo-test-m123-{failover}-a1-c1"
        provider.rows = [rental(500, theirs.format(failover=failover)), rental(501, lost)]
        assert await look(s, job) == {(DebtKind.DESTROY_CLAIM, 501)}
        found = await told(s)
        assert {row["id"]: row["standing"] for row in found["orphans"]} == {"500": "released"}


async def test_the_former_instance_of_a_machine_that_an_operator_moved_is_theirs() -> None:
    async with account() as (s, provider, job):
        for number in (700, 701):
            s.outside.instances[number] = instance(number)
            answer = await s.http.put("/api/v1/machines/9", json={"gpu_instance_id": number})
            assert answer.status_code in (200, 201), answer.text
        provider.rows = [rental(700, "fo-test-m9-standby-1-0"), rental(701, "fo-test-m9-standby-2-0")]
        assert await look(s, job) == set()
        assert {row["id"]: row["standing"] for row in (await told(s))["orphans"]} == {"700": "released"}


async def test_an_orphan_is_told_from_the_first_look_on_and_destroyed_only_after_the_second() -> None:
    async with account(rental(501, "fo-test-m7-fo_gone-a1-c0"), rental(502, None)) as (s, _, job):
        assert await look(s, job, times=1) == set()
        (row,) = (await told(s))["orphans"]
        assert (row["kind"], row["id"], row["standing"], row["machine_id"]) == ("instance", "501", "orphan", 7)
        assert row["cost_per_day"] == pytest.approx(12.0)
        assert await look(s, job, times=1) == {(DebtKind.DESTROY_CLAIM, 501)}


async def test_where_the_policy_says_so_an_orphan_is_only_told_until_nobody_sees_it_any_more() -> None:
    rows = (rental(501, "fo-test-m7-fo_gone-a1-c0"), rental(502, "fo-test-m8-standby-3-0"))
    async with account(*rows, policy=Policy(destroys_orphans=False)) as (s, provider, job):
        assert await look(s, job) == set()
        [alert] = await s.store.transact(lambda tx: tx.open_alerts())
        assert alert.key == ALERT
        assert "501 (fo-test-m7-fo_gone-a1-c0, 0.5 $/h)" in alert.text
        assert "502" in alert.text
        assert {row["standing"] for row in (await told(s))["orphans"]} == {"orphan"}
        provider.rows = []
        assert await look(s, job) == set()
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []


async def test_another_deployments_rentals_are_told_and_never_touched() -> None:
    async with account(rental(600, "fo-other-m1-fo_x-a1-c0")) as (s, _, job):
        assert await look(s, job) == set()
        found = await told(s)
        assert [row["standing"] for row in found["orphans"]] == ["foreign"]
        assert (found["count"], found["cost_per_day"]) == (1, 0.0)


async def test_what_is_gone_or_claimed_again_is_told_no_more() -> None:
    async with account(rental(600, "fo-other-m1-fo_x-a1-c0")) as (s, provider, job):
        await look(s, job, times=1)
        provider.rows = []
        await look(s, job, times=1)
        assert (await told(s))["orphans"] == []


async def test_a_provider_that_does_not_answer_makes_nothing_disappear() -> None:
    async with account(rental(600, "fo-other-m1-fo_x-a1-c0")) as (s, provider, job):
        await look(s, job, times=1)
        provider.is_mute = True
        await look(s, job)
        assert (await told(s))["count"] == 1


async def test_it_keeps_the_time_at_which_it_was_first_seen_also_by_another_replica() -> None:
    async with account(rental(600, "fo-other-m1-fo_x-a1-c0")) as (s, provider, job):
        await job.find()
        await s.clock.advance(SIX_HOURS)
        provider.rows.append(rental(601, "fo-other-m2-fo_x-a1-c0"))
        another = OrphanInstances(s.store, provider, DEFAULTS, s.clock, "fo-test")  # type: ignore[arg-type]
        await another.find()
        ages = {row["id"]: row["age_seconds"] for row in (await told(s))["orphans"]}
        assert ages == {"600": SIX_HOURS, "601": 0.0}


async def test_each_kind_is_told_apart_and_what_has_no_price_is_counted() -> None:
    def thing(kind: LostKind, number: str, standing: Standing, price: float | None) -> LostThing:
        return LostThing(kind, number, standing, "label", None, price, 50.0, "what", BEGIN)

    async with stage() as s:
        things = {
            LostKind.VOLUME: [thing(LostKind.VOLUME, "881", Standing.ORPHAN, 0.01)],
            LostKind.VM: [thing(LostKind.VM, "zone/vm", Standing.ORPHAN, None)],
            LostKind.SNAPSHOTS: [thing(LostKind.SNAPSHOTS, "m7/", Standing.RELEASED, None)],
        }
        for kind, found in things.items():
            await s.store.transact(lambda tx, kind=kind, found=found: tx.note_lost(kind, found))  # type: ignore[misc]
        answer = await told(s)
        assert [row["kind"] for row in answer["orphans"]] == ["snapshots", "vm", "volume"]
        assert (answer["cost_per_day"], answer["without_price"]) == (0.24, 2)
        await s.store.transact(lambda tx: tx.note_lost(LostKind.VM, []))
        assert [row["kind"] for row in (await told(s))["orphans"]] == ["snapshots", "volume"]


def show(answer: dict[str, Any]) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    show_orphans(ApiClient(Door("http://failoverd.test", "fa_x"), transport), Output.TABLE)


async def test_the_command_shows_each_with_its_cost_and_what_becomes_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    async with account(rental(501, "fo-test-m7-fo_gone-a1-c0"), rental(600, "fo-other-m1-x")) as (s, _, job):
        await look(s, job, times=1)
        show(await told(s))
    shown = capsys.readouterr().out
    assert "501" in shown
    assert "12.00" in shown
    assert "orphan: ours, and nothing explains it" in shown
    assert "without those of other deployments: 12.00 $ a day" in shown


def test_the_command_says_so_where_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show({"orphans": [], "count": 0, "cost_per_day": 0.0, "without_price": 0})
    assert "nothing is paid for that belongs to no machine" in capsys.readouterr().out
