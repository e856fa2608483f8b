"""AsyncsshShell against a real sshd: keys, exit codes, a frozen server, a killed one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.ssh import AsyncsshShell, ShellSettings
from adapters.system_clock import SystemClock
from machines.errors import NotYet, Refused
from machines.model import Endpoint
from machines.ports import Reach
from tests.servers.sshd import Sshd


def shell_for(sshd: Sshd, settings: ShellSettings = ShellSettings()) -> AsyncsshShell:
    return AsyncsshShell(sshd.key_file, SystemClock(), replace(settings, username=sshd.user))


async def test_a_real_sshd_answers_runs_and_is_known_again(sshd: Sshd) -> None:
    endpoint = Endpoint(sshd.host, sshd.port)
    shell = shell_for(sshd)
    assert await shell.reach(endpoint) is Reach.ANSWERED
    result = await shell.run(endpoint, "cat; echo $FAILOVERD_TEST_HOME; echo oops >&2; exit 7")
    assert (result.exit_status, result.stdout.strip(), result.stderr) == (7, str(sshd.home), "oops\n")
    assert result.host_key.split()[:2] == (sshd.folder / "host_ed25519.pub").read_text().split()[:2]
    assert (await shell.run(endpoint, "true", host_key=result.host_key)).exit_status == 0
    with pytest.raises(Refused):
        await shell.run(endpoint, "true", host_key=shell.public_key)


async def test_a_real_sshd_that_is_frozen_is_silent(sshd: Sshd) -> None:
    endpoint = Endpoint(sshd.host, sshd.port)
    shell = shell_for(sshd, ShellSettings(reach_timeout_s=0.5, connect_timeout_s=0.5))
    sshd.process.pause()
    try:
        assert await shell.reach(endpoint) is Reach.SILENT
        with pytest.raises(NotYet):
            await shell.run(endpoint, "true")
    finally:
        sshd.process.resume()
    assert await shell_for(sshd).reach(endpoint) is Reach.ANSWERED


async def test_two_hundred_probes_leave_sshd_willing(sshd: Sshd) -> None:
    endpoint = Endpoint(sshd.host, sshd.port)
    shell = shell_for(sshd)
    for _ in range(200):
        assert await shell.reach(endpoint) is Reach.ANSWERED
