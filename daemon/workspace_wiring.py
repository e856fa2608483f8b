"""Workspaces on CPU VMs as the settings want them."""

from __future__ import annotations

from adapters.rsync import RsyncSettings, RsyncWorkspaces
from daemon.settings import Settings
from daemon.surroundings import Surroundings
from machines.cpu_vm import WorkspaceCopy
from machines.model import MachineId
from machines.ports import CpuCloud


def vm_workspaces(settings: Settings, around: Surroundings, cloud: CpuCloud | None) -> RsyncWorkspaces | None:
    """None where there are no CPU VMs."""
    gce, shell, store = settings.gce, around.vm_shell, around.store
    if gce is None or cloud is None or shell is None:
        return None

    async def newest(machine: MachineId) -> WorkspaceCopy | None:
        return await store.transact(lambda tx: tx.workspace_copy(machine))

    rules = RsyncSettings(keep_percent=gce.copy_keep_percent)
    return RsyncWorkspaces(cloud, shell, around.shell, around.clock, newest, rules)
