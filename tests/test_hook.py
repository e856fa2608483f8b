"""The operator's program hears of each hand-over, at least once, and gets nothing that it should not see."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.hook import CommandHook
from adapters.system_clock import SystemClock
from daemon.sweep import Sweep
from machines.errors import NotYet
from machines.model import DebtKind
from machines.ports import Hook
from tests.test_api_stage import Stage, stage

EVENT = {"event": "handed_over", "machine_id": 7, "failover_id": "fo_1", "data_age_seconds": None}


def program(folder: Path, script: str) -> list[str]:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return [str(path), "an argument"]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def hook(command: list[str], timeout_s: float = 20.0) -> CommandHook:
    return CommandHook(command, timeout_s, SystemClock(speed=10.0))


def test_it_hears_by_environment_and_by_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVERD_VAST__API_KEY", "a secret")
    asyncio.run(
        hook(program(tmp_path, f'env > "{tmp_path}/env"; cat > "{tmp_path}/in"; echo "$1" > "{tmp_path}/arg"')).tell(
            EVENT
        )
    )
    said = (tmp_path / "env").read_text().splitlines()
    assert {"FAILOVERD_EVENT=handed_over", "FAILOVERD_MACHINE_ID=7", "FAILOVERD_DATA_AGE_SECONDS="} <= set(said)
    assert not any("secret" in line for line in said)
    assert json.loads((tmp_path / "in").read_text()) == EVENT
    assert (tmp_path / "arg").read_text() == "an argument\n"


def test_a_program_that_fails_is_told_again_and_its_words_are_kept(tmp_path: Path) -> None:
    with pytest.raises(NotYet, match="status 3: no route to the name server"):
        asyncio.run(hook(program(tmp_path, "echo no route to the name server >&2; exit 3")).tell(EVENT))


def test_a_program_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    command = program(tmp_path, f'sleep 600 & echo $! > "{tmp_path}/child"; wait')
    with pytest.raises(NotYet, match="did not end"):
        asyncio.run(hook(command, timeout_s=0.5).tell(EVENT))
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 10.0
    while running(child) and time.monotonic() < until:
        time.sleep(0.01)  # a killed process goes when it is next given a processor, not when the signal is sent
    assert not running(child)


def test_a_program_that_reads_nothing_may_end_all_the_same(tmp_path: Path) -> None:
    asyncio.run(hook(program(tmp_path, "exit 0")).tell({**EVENT, "detail": "x" * 100_000}))


def test_a_program_that_is_gone_is_not_yet(tmp_path: Path) -> None:
    with pytest.raises(NotYet, match="cannot be run"):
        asyncio.run(hook([os.fspath(tmp_path / "none")]).tell(EVENT))


class Listener:
    """An operator's program as the sweep sees it."""

    def __init__(self, deaf: int = 0) -> None:
        self.deaf, self.heard = deaf, list[Mapping[str, Any]]()

    async def tell(self, event: Mapping[str, Any]) -> None:
        if self.deaf:
            self.deaf -= 1
            raise NotYet("the hook ended with status 1", timedelta(seconds=30))
        self.heard.append(event)


def sweep_of(s: Stage, hook: Hook | None) -> Sweep:
    unused: Any = None
    return Sweep(s.store, s.loop, unused, unused, unused, unused, s.clock, unused, unused, hook=hook)


async def rounds(s: Stage, sweep: Sweep, count: int = 1) -> list[DebtKind]:
    """The open debts of hooks after so many rounds; what else is owed is another's to pay."""
    for _ in range(count):
        for debt in await s.store.transact(lambda tx: tx.open_debts()):
            if debt.kind is not DebtKind.RUN_HOOK:
                await s.store.transact(lambda tx, debt=debt: tx.pay_debt(debt.id, s.clock.now()))  # type: ignore[misc]
        await sweep.pay_debts()
        await sweep.tell_hooks()
        await s.clock.advance(30.0)
    return [debt.kind for debt in await s.store.transact(lambda tx: tx.open_debts())]


async def test_a_hand_over_is_told_with_the_new_address_until_it_was_heard() -> None:
    listener = Listener(deaf=2)
    async with stage(has_hook=True) as s:
        await s.machine()
        asking = await s.begin()
        failover = await s.win()
        await asking
        sweep = sweep_of(s, listener)
        assert await rounds(s, sweep) == [DebtKind.RUN_HOOK]
        assert await rounds(s, sweep, 3) == []
    (event,) = listener.heard
    assert (event["failover_id"], event["machine_id"], event["gpu_instance_id"]) == (failover, 123, 789012)
    assert (event["ssh_host"], event["ssh_port"], event["old_gpu_instance_id"]) == ("ssh5.vast.ai", 54321, 456789)


async def test_a_program_that_hangs_holds_up_no_other_debt() -> None:
    async with stage(has_hook=True) as s:
        await s.machine()
        asking = await s.begin()
        await s.win()
        await asking
        listener = Listener()
        for debt in await s.store.transact(lambda tx: tx.open_debts()):
            if debt.kind is not DebtKind.RUN_HOOK:
                await s.store.transact(lambda tx, debt=debt: tx.pay_debt(debt.id, s.clock.now()))  # type: ignore[misc]
        await sweep_of(s, listener).pay_debts()
        assert listener.heard == []


async def test_only_the_last_of_two_hand_overs_is_told() -> None:
    listener = Listener(deaf=1)
    async with stage(has_hook=True) as s:
        await s.machine()
        asking = await s.begin()
        await s.win(new=1001)
        await asking
        sweep = sweep_of(s, listener)
        await rounds(s, sweep)
        asking = await s.begin(gpu_instance_id=1001)
        await s.win(new=1002)
        await asking
        assert await rounds(s, sweep, 3) == []
    assert [event["gpu_instance_id"] for event in listener.heard] == [1002]


async def test_a_failover_that_replaced_nothing_is_not_told() -> None:
    async with stage(has_hook=True) as s:
        await s.machine()
        asking = await s.begin()
        await s.lose("no_offer_matches")
        await asking
        assert DebtKind.RUN_HOOK not in [one.kind for one in await s.store.transact(lambda tx: tx.open_debts())]


async def test_where_no_program_is_named_nothing_is_owed() -> None:
    async with stage() as s:
        await s.machine()
        asking = await s.begin()
        await s.win()
        await asking
        assert DebtKind.RUN_HOOK not in [one.kind for one in await s.store.transact(lambda tx: tx.open_debts())]
