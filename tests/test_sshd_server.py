"""The sshd of the tests lets us in, and only with its key."""

from __future__ import annotations

import asyncssh
import pytest

from tests.servers.sshd import Sshd


async def test_a_command_runs_as_the_present_user(sshd: Sshd) -> None:
    known = asyncssh.import_known_hosts(sshd.known_hosts)
    keys = [str(sshd.key_file)]
    options = {"username": sshd.user, "known_hosts": known, "config": None, "agent_path": None, "connect_timeout": 5}
    async with asyncssh.connect(sshd.host, sshd.port, client_keys=keys, **options) as connection:
        answer = await connection.run('whoami; echo "$FAILOVERD_TEST_HOME"', check=True)
    assert str(answer.stdout).split() == [sshd.user, str(sshd.home)]
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(sshd.host, sshd.port, client_keys=[stranger], **options)
