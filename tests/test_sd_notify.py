"""What systemd is told, on a real datagram socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.system_clock import monotonic_usec
from daemon.sd_notify import SystemdNotify
from daemon.supervised import Supervised
from machines.admission import Pause
from tests.test_api_stage import Stage, settle, stage


@dataclass
class Systemd:
    """The other end of the socket."""

    socket: socket.socket
    address: str

    def heard(self) -> list[dict[str, str]]:
        """Every message since the last look."""
        messages = []
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.splitlines()))

    def signs_of_life(self) -> int:
        return sum(message == {"WATCHDOG": "1"} for message in self.heard())

    def notify(self, watchdog_s: float | None = None) -> SystemdNotify:
        return SystemdNotify(self.address, watchdog_s)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield Systemd(listening, str(tmp_path / "notify"))


class Sight:
    blindness: str | None = None


def supervised(s: Stage, notify: SystemdNotify, sight: Sight | None = None) -> Supervised:
    return Supervised(notify, s.loop, sight or Sight(), s.store, s.clock)


@asynccontextmanager
async def running(s: Stage) -> AsyncIterator[None]:
    task = asyncio.create_task(s.loop.run())
    try:
        yield
    finally:
        task.cancel()


def test_the_environment_says_who_is_told_and_how_often() -> None:
    environment = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}
    assert SystemdNotify.of_environment(environment, 7) == SystemdNotify("/run/systemd/notify", 30.0)
    assert SystemdNotify.of_environment(environment, 8) == SystemdNotify("/run/systemd/notify", None)
    assert SystemdNotify.of_environment({**environment, "WATCHDOG_USEC": "0"}, 7).watchdog_s is None
    assert SystemdNotify.of_environment({**environment, "NOTIFY_SOCKET": "vsock:2:1234"}, 7) == SystemdNotify()
    assert SystemdNotify.of_environment({}, 7) == SystemdNotify()


def test_an_abstract_socket_is_told_as_well() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the kernel gives it an abstract name
        listening.settimeout(5)
        SystemdNotify("@" + listening.getsockname()[1:].decode()).alive()
        assert listening.recv(100) == b"WATCHDOG=1"


def test_a_socket_that_is_gone_or_absent_harms_nobody(tmp_path: Path) -> None:
    SystemdNotify(str(tmp_path / "gone")).ready("serving")
    SystemdNotify().ready("serving")


def test_a_socket_that_nobody_empties_does_not_hold_us_up(systemd: Systemd) -> None:
    for _ in range(5000):
        systemd.notify().alive()
    assert 0 < systemd.signs_of_life() < 5000


def test_a_reload_is_announced_with_its_time_and_ends_even_where_it_fails(systemd: Systemd) -> None:
    before = monotonic_usec()
    with pytest.raises(ValueError, match="wrong"), systemd.notify().reloading():
        raise ValueError("wrong")
    begun, ended = systemd.heard()
    assert begun["RELOADING"] == "1"
    assert before <= int(begun["MONOTONIC_USEC"]) <= monotonic_usec()
    assert ended == {"READY": "1"}


def test_a_status_is_one_line(systemd: Systemd) -> None:
    systemd.notify().status("first\nWATCHDOG=1\n" + "x" * 9999)
    [message] = systemd.heard()
    assert list(message) == ["STATUS"]
    assert message["STATUS"].startswith("first WATCHDOG=1 xxx")
    assert len(message["STATUS"]) == 400


async def test_an_idle_loop_feeds_the_watchdog_well_before_its_time(systemd: Systemd) -> None:
    async with stage() as s, running(s):
        supervised(s, systemd.notify(30.0)).ready()
        await settle()
        assert [message for message in systemd.heard() if "READY" in message] == [{"READY": "1", "STATUS": "serving"}]
        for _ in range(10):
            await s.clock.advance(3)
            assert systemd.signs_of_life() == 1


async def test_a_loop_that_is_stuck_feeds_nothing_until_it_goes_on(systemd: Systemd) -> None:
    async with stage() as s, running(s):
        supervised(s, systemd.notify(30.0)).ready()
        await settle()
        stuck = asyncio.Event()
        s.loop._tell_blindness = lambda *_: stuck.wait()  # type: ignore[assignment,return-value]
        s.loop.blindness((0,), "a test holds the loop")
        await settle()
        systemd.heard()
        for _ in range(20):
            await s.clock.advance(3)
        assert systemd.signs_of_life() == 0
        stuck.set()
        await settle()
        assert systemd.signs_of_life() == 1


async def test_a_loop_that_never_runs_dry_feeds_it_too_but_not_at_every_turn(systemd: Systemd) -> None:
    async with stage() as s, running(s):
        supervised(s, systemd.notify(30.0)).ready()
        await settle()
        systemd.heard()
        for _ in range(9):
            for _ in range(30):
                s.loop.blindness((), "one of many signals")
            await s.clock.advance(1)
        assert systemd.signs_of_life() == 3


async def test_the_loop_is_left_alone_where_no_watchdog_asks(systemd: Systemd) -> None:
    async with stage() as s, running(s):
        supervised(s, systemd.notify()).ready()
        await s.clock.advance(60)
        assert systemd.signs_of_life() == 0


async def test_the_status_tells_machines_failovers_blindness_and_the_pause(systemd: Systemd) -> None:
    async with stage() as s:
        await s.machine()
        sight = Sight()
        watched = supervised(s, systemd.notify(), sight)
        watched.ready()
        await settle()
        assert systemd.heard()[-1] == {"STATUS": "1 machines; 0 failovers running"}
        sight.blindness = "the broker is away"
        pause = Pause("the network is rebuilt", s.clock.now() + timedelta(hours=2), "ana")
        await s.store.transact(lambda tx: tx.set_pause(pause))
        await s.clock.advance(10)
        [said] = systemd.heard()
        assert "BLIND, no silence is trusted: the broker is away" in said["STATUS"]
        assert "PAUSED until 2026-11-23 14:00 UTC by ana: the network is rebuilt" in said["STATUS"]
        watched.stopping(10)
        await s.clock.advance(60)
        [leaving] = systemd.heard()
        assert (leaving["STOPPING"], leaving["EXTEND_TIMEOUT_USEC"]) == ("1", "10000000")


async def test_a_reload_before_the_daemon_serves_does_not_say_that_it_does(systemd: Systemd) -> None:
    async with stage() as s:
        told = supervised(s, systemd.notify())
        with told.reloading():
            pass
        assert systemd.heard() == []
        told.ready()
        systemd.heard()
        with told.reloading():
            assert [message["RELOADING"] for message in systemd.heard()] == ["1"]
        assert systemd.heard() == [{"READY": "1"}]
        told.stopping(1.0)
