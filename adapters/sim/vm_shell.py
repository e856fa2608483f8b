"""The port Shell to the CPU VMs of a world in memory: SSH as a client sees it, without a socket and without a shell."""

from __future__ import annotations

from datetime import timedelta

from adapters.sim.compute import Vm
from adapters.sim.sim_shell import SimShell
from adapters.sim.vm_bodies import VmBodies, VmBody
from adapters.sim.world import World
from machines.errors import NotYet, Refused, Unknown
from machines.model import Endpoint
from machines.ports import Clock, Reach, ShellResult
from machines.shell_lines import UnknownLine
from machines.vm_lines import AskCarry, AskPull, EndService, PrepareVm, ServeCopy, read, written

_GREETS_WITHIN_S = 0.1
_COMMAND_S = 0.4
_AGAIN = timedelta(seconds=5)


class SimVmShell:
    """`instances` is how a VM reaches the machines' instances."""

    def __init__(self, world: World, bodies: VmBodies, instances: SimShell, clock: Clock, public_key: str) -> None:
        self._world, self._bodies, self._instances, self._clock = world, bodies, instances, clock
        self.public_key = public_key

    async def reach(self, endpoint: Endpoint) -> Reach:
        await self._clock.sleep(_GREETS_WITHIN_S)
        return Reach.ANSWERED if self._at(endpoint) is not None else Reach.SILENT

    async def run(
        self,
        endpoint: Endpoint,
        command: str,
        host_key: str | None = None,
        timeout_s: float = 60.0,
        stdin: bytes = b"",
    ) -> ShellResult:
        """Raise what the port says, and UnknownLine for a command that nobody has defined."""
        await self._clock.sleep(_GREETS_WITHIN_S)
        vm = self._at(endpoint)
        if vm is None:
            raise NotYet(f"no SSH yet: {endpoint}", _AGAIN)
        own_key = f"ssh-ed25519 simulated-host-key-of-vm-{vm.id}"
        if host_key is not None and host_key != own_key:
            raise Refused("ssh_unreachable", f"not the host that we know: {endpoint}")
        await self._clock.sleep(_COMMAND_S)
        if self._at(endpoint) is not vm:
            raise Unknown("the connection broke, the command may still run")
        said = self._carry_out(self._bodies.at(vm), command, stdin)
        return ShellResult(0, f"{said}\n", "", own_key)

    def _at(self, endpoint: Endpoint) -> Vm | None:
        running = (vm for vm in self._world.compute.vms.values() if vm.status == "RUNNING")
        return next((vm for vm in running if vm.address == endpoint.host), None)

    def _carry_out(self, body: VmBody, command: str, stdin: bytes) -> str:
        line, now = read(command), self._clock.now()
        match line:
            case PrepareVm():
                body.key = body.key or f"ssh-ed25519 key-of-vm-{body.vm.id} failoverd-vm"
                return body.key
            case AskPull() | AskCarry():
                return written(body.ask(line, self._instances.body_at, now))
            case ServeCopy():
                return body.serve(line, stdin.decode(), now)
            case EndService():
                return body.end(line.fence, line.unless_written, now)
            case _:
                raise UnknownLine(command)
