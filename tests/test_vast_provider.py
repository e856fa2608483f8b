"""A provider that answers from a script, in virtual time: what the tests of Vast's adapter share, and its own proof."""

from __future__ import annotations

import asyncio
import json
import random
import selectors
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import httpx

from adapters.vast import VastApi, VastCloud, VastSettings, vast_client
from machines.model import Claim, HostId, Label, LandlordId, Offer, OfferId, Workload

P = ParamSpec("P")
T = TypeVar("T")
START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
PREFIX = "fo-dep1-"
Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]] | Exception


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: where nothing is ready, time jumps to the next timer."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that will never come")
        self._loop.seconds += max(0.0, timeout)
        return super().select(0)


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in a loop of virtual time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class VirtualClock:
    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def since(self, at: datetime, unseen_at_most: timedelta | None = None) -> timedelta:
        return self.now() - at

    def real(self, seconds: float) -> float:
        return seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def breathe(self) -> None:
        await asyncio.sleep(0)

    async def wait_for(self, awaitable: Awaitable[T], seconds: float) -> T:
        return await asyncio.wait_for(awaitable, seconds)


class EvenRandom:
    """Always in the middle, so that waits can be told beforehand."""

    def token(self, length: int = 12) -> str:
        return "a" * length

    def jitter(self) -> float:
        return 0.5


class SeededRandom(EvenRandom):
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def jitter(self) -> float:
        return self._random.random()


class Provider:
    """Answers "METHOD path" from the list given for it, the last one again and again; an exception is raised."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []
        self._script: defaultdict[str, list[Answer]] = defaultdict(list)

    def on(self, call: str, *answers: Answer) -> None:
        self._script[call] = list(answers)

    def calls(self, call: str) -> list[httpx.Request]:
        return [request for request in self.requests if f"{request.method} {request.url.path}" == call]

    def bodies(self, call: str) -> list[Any]:
        return [json.loads(request.content) for request in self.calls(call)]

    def cloud(self, settings: VastSettings | None = None, prefix: str = PREFIX) -> VastCloud:
        client = vast_client("k-123", "http://vast.test", transport=httpx.MockTransport(self.answer))
        clock, settings = VirtualClock(), settings or VastSettings()
        return VastCloud(VastApi(client, clock, EvenRandom(), settings), clock, prefix, settings)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(asyncio.get_running_loop().time())
        script = self._script[f"{request.method} {request.url.path}"]
        assert script, f"nothing scripted for {request.method} {request.url}"
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, Exception):
            raise answer
        status, body, *rest = answer
        headers = rest[0] if rest else {}
        if isinstance(body, str):
            return httpx.Response(status, text=body, headers=headers)
        return httpx.Response(status, json=body, headers=headers)


def row(number: int, **fields: Any) -> dict[str, Any]:
    """An instance as the provider shows it while it is healthy."""
    return {
        "id": number,
        "machine_id": 178,
        "host_id": 2,
        "label": None,
        "actual_status": "running",
        "intended_status": "running",
        "cur_state": "running",
        "next_state": "running",
        "status_msg": "success, running pytorch/ssh",
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "is_bid": False,
        "dph_total": 0.4,
        "image_uuid": "pytorch/pytorch:latest",
        "image_runtype": "ssh",
        "disk_space": 32.0,
        "extra_env": [["A", "1"], ["-p 8000:8000", "1"]],
        "onstart": None,
        "geolocation": "Sweden, SE",
        "ssh_host": "ssh5.vast.ai",
        "ssh_port": 31000,
        "public_ipaddr": "203.0.113.7\n",
        "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "40022"}]},
    } | fields


def page(*rows: dict[str, Any], total: int | None = None, token: str | None = None, **fields: Any) -> Answer:
    body = {
        "success": True,
        "instances_found": len(rows),
        "total_instances": len(rows) if total is None else total,
        "next_token": token,
        "instances": list(rows),
    }
    return 200, body | fields


def claim(label: str = PREFIX + "1", workload: Workload | None = None, claimed_at: datetime = START) -> Claim:
    offer = Offer(OfferId(384826), HostId(178), LandlordId(2), "RTX 4090", 1, 0.4, 0.99, "SE")
    return Claim(Label(label), offer, claimed_at, workload or Workload())


LIST = "GET /api/v1/instances/"
CREATE = "PUT /api/v0/asks/384826/"
ACCOUNT = "GET /api/v0/users/current"
SPEND = "GET /api/v0/users/spend-rate/"
OWNER: Answer = (200, {"id": 4711, "credit": 12.5})
NO_COSTS: Answer = (200, {"success": True, "gpu_cost_per_hour": 0.0, "container_storage_cost_per_hour": 0.0})
DEAD_KEY: Answer = (404, {"success": False, "error": "auth_error", "msg": "Invalid user key"})
DONE: Answer = (200, {"success": True})


def absent(number: int) -> Answer:
    return 404, {"success": False, "error": "no_such_instance", "msg": f"Instance {number} not found."}


@virtual
async def test_virtual_time_jumps_instead_of_passing() -> None:
    clock = VirtualClock()
    await asyncio.gather(clock.sleep(3600), clock.sleep(10))
    assert clock.monotonic() == 3600
