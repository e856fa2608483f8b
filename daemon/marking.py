"""Writes the machine's number onto its volume, by the living primary: whoever goes on with the volume checks it first."""

from __future__ import annotations

from datetime import timedelta

from machines.errors import KeyNotAccepted, NotYet
from machines.model import Endpoint, Machine, VolumeMount
from machines.ports import GpuCloud, Shell
from machines.shell_lines import ReadMarker, WriteMarker
from machines.strategies.warm_pool import MARKER

_WAIT_FOR_HEALTH = timedelta(seconds=15)


class Marking:
    def __init__(self, cloud: GpuCloud, shell: Shell) -> None:
        self._cloud = cloud
        self._shell = shell

    async def mark(self, machine: Machine, volume: VolumeMount) -> None:
        """Raise NotYet where the primary does not take it."""
        ssh = await self._address(machine)
        command = WriteMarker(volume.path, int(machine.id), _marker_on(volume)).line()
        try:
            result = await self._shell.run(ssh, command, machine.host_key, timeout_s=30.0)
        except KeyNotAccepted:
            if machine.primary is not None:
                await self._cloud.attach_key(machine.primary)  # It may be older than our key on the account.
            raise
        if result.exit_status != 0:
            raise NotYet(f"the volume could not be marked: {result.stderr[:200]}", _WAIT_FOR_HEALTH)

    async def is_marked(self, machine: Machine, volume: VolumeMount) -> bool:
        """Is the workspace there, and the machine's number on its volume? Raise NotYet where nobody answers."""
        command = ReadMarker(machine.workspace_path, _marker_on(volume)).line()
        result = await self._shell.run(await self._address(machine), command, machine.host_key, timeout_s=30.0)
        return result.exit_status == 0 and result.stdout.strip() == str(machine.id)

    async def _address(self, machine: Machine) -> Endpoint:
        """As the provider shows it now: a container gets a new port at each start."""
        if machine.primary is None:
            raise NotYet("the machine has no instance", _WAIT_FOR_HEALTH)
        listing = await self._cloud.list(max_age_s=5.0, about=(machine.primary,))
        row = listing.instances.get(machine.primary)
        found = row.ssh if row is not None and row.ssh is not None else machine.ssh
        if found is None:
            raise NotYet("the primary has no address", _WAIT_FOR_HEALTH)
        return found


def _marker_on(volume: VolumeMount) -> str:
    return f"{volume.path.rstrip('/')}/{MARKER}"
