"""CommandHook: the port Hook as a program of the operator's, which hears of an event by its environment and its input."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from machines.errors import NotYet
from machines.ports import Clock

_AGAIN = timedelta(seconds=30)
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""Nothing else of ours: the daemon's environment may hold its secrets."""
_TOLD = 300


class CommandHook:
    """Runs the command without a shell, in a session of its own, which ends with it where it takes too long."""

    def __init__(self, command: Sequence[str], timeout_s: float, clock: Clock) -> None:
        """`timeout_s` are real seconds: no program becomes faster."""
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._clock = clock

    async def tell(self, event: Mapping[str, Any]) -> None:
        """Raise NotYet where the program could not be run, failed, or did not end in time."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(event),
                start_new_session=True,
            )
        except OSError as error:
            raise NotYet(f"the hook {self._command[0]} cannot be run: {error.strerror}", _AGAIN) from error
        try:
            said = json.dumps(event).encode()
            seconds = self._clock.real(self._timeout_s)
            _, complaint = await self._clock.wait_for(process.communicate(said), seconds)
        except TimeoutError as error:
            raise NotYet(f"the hook did not end within {self._timeout_s:g} s", _AGAIN) from error
        finally:
            await _end(process)
        if process.returncode != 0:
            words = complaint.decode(errors="replace").strip()[-_TOLD:]
            raise NotYet(f"the hook ended with status {process.returncode}: {words}", _AGAIN)


async def _end(process: asyncio.subprocess.Process) -> None:
    """It and what it started, where they still run."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    await process.wait()


def _environment(event: Mapping[str, Any]) -> dict[str, str]:
    """Each field as FAILOVERD_NAME; what is not known is empty."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    told = {f"FAILOVERD_{name.upper()}": "" if value is None else str(value) for name, value in event.items()}
    return inherited | told
