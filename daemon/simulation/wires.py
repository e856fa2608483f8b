"""What lies between a replica and the outside: its calls to the provider and its SSH sessions, cut and watched.

A call that has left goes on at the provider, whatever becomes of the process that waits for the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import httpx

from adapters.sim.compute_api import SimCompute
from adapters.sim.sim_shell import SimShell
from adapters.sim.vm_shell import SimVmShell
from adapters.virtual_clock import elsewhere
from machines.errors import NotYet, Unknown
from machines.model import Endpoint
from machines.ports import Clock, Random, Reach, ShellResult

_NO_ROUTE_S = 3.0
_FLIGHT_S = 0.05


class ProviderWire(httpx.AsyncBaseTransport):
    """HTTP to the simulated provider, without a socket."""

    def __init__(
        self,
        app: httpx.AsyncBaseTransport,
        clock: Clock,
        random: Random,
        on_call: Callable[[httpx.Request], None],
        on_answer: Callable[[httpx.Request, httpx.Response | None], None],
    ) -> None:
        self._app, self._clock, self._random = app, clock, random
        self._on_call, self._on_answer = on_call, on_answer
        self.is_cut = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_cut:
            await self._clock.sleep(_NO_ROUTE_S)
            raise httpx.ConnectError("no route to the provider")
        await self._clock.sleep(_FLIGHT_S * self._random.jitter())
        self._on_call(request)
        return await elsewhere(self._at_provider(request))

    async def _at_provider(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._app.handle_async_request(request)
        except httpx.HTTPError:
            self._on_answer(request, None)
            raise
        self._on_answer(request, response)
        return response


class ComputeWire:
    """The way to the provider of CPU VMs, as adapters.gce asks it."""

    def __init__(
        self,
        compute: SimCompute,
        clock: Clock,
        random: Random,
        on_call: Callable[[str, Mapping[str, str], Any], None],
    ) -> None:
        self._compute, self._clock, self._random, self._on_call = compute, clock, random, on_call
        self.is_cut = False

    async def ask(
        self, what: str, path: Mapping[str, str], query: Mapping[str, str], body: Any, timeout_s: float
    ) -> tuple[int, Mapping[str, Any]]:
        if self.is_cut:
            await self._clock.sleep(_NO_ROUTE_S)
            raise Unknown("no route to the provider of CPU VMs")
        await self._clock.sleep(_FLIGHT_S * self._random.jitter())
        self._on_call(what, path, body)
        return await elsewhere(self._compute.ask(what, path, query, body, timeout_s))

    def close(self) -> None: ...


class ShellWire:
    """SSH to the simulated instances, or to the VMs: the port Shell, with the key that it bears."""

    def __init__(self, shell: SimShell | SimVmShell, clock: Clock, random: Random) -> None:
        self._shell, self._clock, self._random = shell, clock, random
        self.is_cut = False
        """No instance is reached from here."""
        self.breaks = 0.0
        """The share of commands whose connection breaks after the command was sent."""

    @property
    def public_key(self) -> str:
        return self._shell.public_key

    async def reach(self, endpoint: Endpoint) -> Reach:
        if self.is_cut:
            await self._clock.sleep(_NO_ROUTE_S)
            return Reach.SILENT
        return await elsewhere(self._shell.reach(endpoint))

    async def run(
        self,
        endpoint: Endpoint,
        command: str,
        host_key: str | None = None,
        timeout_s: float = 60.0,
        stdin: bytes = b"",
    ) -> ShellResult:
        if self.is_cut:
            await self._clock.sleep(_NO_ROUTE_S)
            raise NotYet(f"no route to {endpoint}", timedelta(seconds=5))
        await self._clock.sleep(_FLIGHT_S * self._random.jitter())
        result = await elsewhere(self._shell.run(endpoint, command, host_key, timeout_s, stdin))
        if self.breaks > 0 and self._random.jitter() < self.breaks:
            raise Unknown(f"{endpoint}: the connection broke, the command may still run")
        return result
