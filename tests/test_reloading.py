"""SIGHUP: what changed is logged, what can change does, what cannot is named, and a fault changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import structlog

from adapters.sim.server import SimServer, SimSettings
from adapters.sql.errors import StoreUnavailable
from adapters.system_clock import SystemClock
from adapters.vast import vast_client
from daemon import logs
from daemon.compose import compose
from daemon.configured import Configured
from daemon.reload_parts import parts_of
from daemon.reloading import Change, Part, Reloading, changes
from daemon.settings import Loaded, MachineEntry, Settings, read
from machines.errors import Unknown
from machines.model import InstanceId
from tests.test_api_stage import instance, settle, stage

SECRET = "s3cr3t"
ROOT = Path(__file__).parents[1]


@pytest.fixture
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


class Daemon:
    """A running one, whose file a test writes."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "f.yaml"
        self.file.write_text(text)
        self.taken: list[Settings] = []
        self.reloading = Reloading(self._read, self._read().settings, (Part(("log_level", "notify."), self._take),))

    def _read(self) -> Loaded:
        return read(self.file, {})

    async def _take(self, before: Settings, new: Settings) -> None:
        self.taken.append(new)

    async def reload(self, text: str) -> bool:
        self.file.write_text(text)
        return await self.reloading.reload()


async def test_what_can_change_does_and_the_difference_is_logged(
    tmp_path: Path, lines: list[MutableMapping[str, Any]]
) -> None:
    daemon = Daemon(tmp_path, "log_level: info")
    assert await daemon.reload("log_level: debug")
    assert [new.log_level for new in daemon.taken] == ["debug"]
    [changed, done] = lines
    assert (changed["event"], changed["setting"], changed["before"], changed["after"]) == (
        "setting_changed",
        "log_level",
        "info",
        "debug",
    )
    assert (done["event"], done["changed"], done["need_restart"]) == ("settings_reloaded", 1, 0)


async def test_what_needs_a_restart_is_named_each_time_until_it_is_taken_back(
    tmp_path: Path, lines: list[MutableMapping[str, Any]]
) -> None:
    daemon = Daemon(tmp_path, "http: {port: 1}")
    await daemon.reload("http: {port: 2}")
    await daemon.reload("http: {port: 2}\nlog_level: debug")
    await daemon.reload("http: {port: 1}")
    told = [line["settings"] for line in lines if line["event"] == "settings_need_a_restart"]
    assert told == [["http.port"], ["http.port"]]


async def test_a_broken_file_changes_nothing_and_says_why(
    tmp_path: Path, lines: list[MutableMapping[str, Any]]
) -> None:
    daemon = Daemon(tmp_path, "log_level: info")
    assert not await daemon.reload("log_level: loud\nspeed: 0")
    assert daemon.taken == []
    assert [line["event"] for line in lines] == ["settings_not_reloaded"] * 2
    assert "f.yaml:1: log_level: must be one of" in lines[0]["because"]
    assert not await daemon.reload("log_level: [")
    assert await daemon.reload("log_level: warning")
    assert [new.log_level for new in daemon.taken] == ["warning"]


async def test_a_file_that_says_the_same_takes_nothing(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "log_level: info")
    assert await daemon.reload("log_level: info  # the same")
    assert daemon.taken == []


async def test_a_part_that_fails_is_told_of_keeps_no_other_from_it_and_is_tried_again(
    tmp_path: Path, lines: list[MutableMapping[str, Any]]
) -> None:
    file, taken, told = tmp_path / "f.yaml", list[str](), list[dict[str, str]]()
    faults = [StoreUnavailable("the disk is full")]

    async def policy(before: Settings, new: Settings) -> None:
        if faults:
            raise faults.pop()
        taken.append(f"policy {before.policy.max_concurrent} -> {new.policy.max_concurrent}")

    async def level(before: Settings, new: Settings) -> None:
        taken.append(new.log_level)

    async def tell(failed: Mapping[str, str]) -> None:
        told.append(dict(failed))

    file.write_text("log_level: info")
    parts = (Part(("policy.",), policy), Part(("log_level",), level))
    reloading = Reloading(lambda: read(file, {}), read(file, {}).settings, parts, tell)
    file.write_text("log_level: debug\npolicy: {max_concurrent: 3}")
    assert await reloading.reload()
    assert taken == ["debug"]
    assert [line["settings"] for line in lines if line["event"] == "settings_not_taken"] == ["policy."]
    assert await reloading.reload()
    assert taken == ["debug", "policy 10 -> 3"]
    assert told == [{"policy.": "the disk is full"}, {}]


async def test_a_machine_that_cannot_be_registered_now_holds_no_reload_up_and_is_registered_later() -> None:
    async with stage() as s:
        s.outside.instances[InstanceId(1007)] = instance(1007)
        configured = Configured(s.store, s.services.registry, s.clock)
        s.outside.fault = Unknown("503")
        await configured.register([MachineEntry(id=7, gpu_instance_id=1007), MachineEntry(id=8)])
        assert [one.id for one in await s.store.transact(lambda tx: tx.machines())] == [8]
        assert [one.key for one in await s.store.transact(lambda tx: tx.open_alerts())] == ["machine-7-registration"]
        s.outside.fault = None
        await settle()
        await s.clock.advance(6.0)
        await settle()
        assert (await s.stored(7)).primary == 1007
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []
        await configured.stop()


def said(text: str, folder: Path) -> Settings:
    file = folder / "c.yaml"
    file.write_text(text)
    return read(file, {}).settings


def test_no_difference_tells_a_secret(tmp_path: Path) -> None:
    before = said(f"vast: {{api_key: {SECRET}1}}", tmp_path)
    after = said(f"vast: {{api_key: {SECRET}2}}\nnotify: {{heartbeat_url: 'https://h/{SECRET}'}}", tmp_path)
    found = changes(before, after)
    assert [one.name for one in found] == ["notify.heartbeat_url", "vast.api_key"]
    assert SECRET not in str(found)


def test_a_machine_is_known_by_its_id_and_not_by_its_place(tmp_path: Path) -> None:
    before = said("machines: [{id: 1, name: a}, {id: 2, name: b}]", tmp_path)
    after = said("machines: [{id: 2, name: c}, {id: 3, name: d}]", tmp_path)
    assert changes(before, after) == [
        Change("machines[1].id", 1, "(not given)"),
        Change("machines[1].name", "a", "(not given)"),
        Change("machines[2].name", "b", "c"),
        Change("machines[3].id", "(not given)", 3),
        Change("machines[3].name", "(not given)", "d"),
    ]


def test_a_logger_that_was_used_follows_the_new_level(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = structlog.get_config()
    path = tmp_path / "log"
    try:
        with path.open("wb") as file:
            logs.write_json(file, 10)
            log = structlog.get_logger("of this test")
            for level in ("info", "debug", "warning"):
                logs.set_level(level)
                log.debug(f"a debug line at {level}")
                log.error(f"an error at {level}")
    finally:
        logs.set_level("debug")
        structlog.configure(**before)
    told = [line.split('"event":"')[1].split('"')[0] for line in path.read_text().splitlines()]
    assert told == ["an error at info", "a debug line at debug", "an error at debug", "an error at warning"]


async def test_a_composed_daemon_takes_its_key_its_channels_and_its_machines(tmp_path: Path) -> None:
    server = SimServer(SimSettings(seed=7, api_key="new", has_bodies=False), clock := SystemClock(100.0))
    file = tmp_path / "f.yaml"
    text = (
        f"state_dir: {tmp_path}/state\nspeed: 100\nhttp: {{port: 0}}\nvast: {{url: 'http://vast.test', api_key: KEY}}\n"
    )
    file.write_text(text.replace("KEY", "old"))
    client = vast_client("old", "http://vast.test", transport=httpx.ASGITransport(server.app))
    daemon = await compose(read(file, {}).settings, clock, client)
    running = asyncio.create_task(daemon.run())
    try:
        await daemon.api.started()
        reloading = Reloading(lambda: read(file, {}), daemon.settings, parts_of(daemon))
        channel = "{name: ops, kind: webhook, url: 'http://127.0.0.1:1/hook', secret: x}"
        file.write_text(
            text.replace("KEY", "new") + f"notify: {{channels: [{channel}]}}\nmachines: [{{id: 5, name: five}}]\n"
        )
        assert await reloading.reload()
        assert client.headers["Authorization"] == "Bearer new"
        assert daemon.outlets is not None
        tried = await daemon.outlets.notifying.test()
        assert [(one.channel, one.error) for one in tried] == [("ops", "it could not be reached (ConnectError)")]
        known = await daemon.store.transact(lambda tx: tx.machines())
        assert [machine.name for machine in known] == ["five"]
    finally:
        running.cancel()
        await asyncio.wait([running])


def test_a_hangup_reaches_the_running_daemon_and_a_broken_file_ends_nothing(tmp_path: Path) -> None:
    """The real process. Its provider is out of reach, which it only tells."""
    file = tmp_path / "f.yaml"
    text = "vast: {url: 'http://127.0.0.1:1', api_key: k}\nhttp: {port: 0}\nlog_format: json\n"
    file.write_text(text)
    env = {name: value for name, value in os.environ.items() if not name.startswith("FAILOVERD_")}
    command = (sys.executable, "-m", "daemon.cli", "run", "--config", str(file))
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stderr is not None
        try:
            assert daemon.stdout.readline().startswith("API ")
            file.write_text(text + "log_level: loud\n")
            daemon.send_signal(signal.SIGHUP)
            assert "log_level: must be one of" in line_of(daemon.stderr, "settings_not_reloaded")
            file.write_text(text + "log_level: debug\nspeed: 2\n")
            daemon.send_signal(signal.SIGHUP)
            assert '"before":"info"' in line_of(daemon.stderr, "setting_changed")
            assert '"settings":["speed"]' in line_of(daemon.stderr, "settings_need_a_restart")
        finally:
            daemon.terminate()
        daemon.communicate(timeout=30)
    assert daemon.returncode == 0


def line_of(log: IO[str], event: str) -> str:
    """The next line of that event."""
    return next(line for line in log if f'"event":"{event}"' in line)
