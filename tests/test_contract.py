"""Every example request of the contract, sent to the whole daemon beside a simulated provider: exactly its fields and types."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from adapters.virtual_clock import VirtualLoop, run_virtually
from daemon.api import create_app
from daemon.simulation.replica import TOKEN
from daemon.simulation.theatre import REGIONAL_HOSTS, Plan, Theatre
from tests.contract_examples import Example, examples
from tests.test_api_stage import has_shape
from tests.test_regional_volumes import ApiReplica

BASE = "/api/v1/failover"
OF_A_VOLUME: dict[str, Any] = {
    "volume_id": 12345,
    "region": "US",
    "size_gb": 50,
    "name": "my-volume",
    "status": "available",
    "machine_id": None,
    "attached_instance_id": None,
    "price_per_month": 2.5,
    "created_at": "2026-11-23T12:00:00+00:00",
}
"""What the document leaves open of GET one volume."""
OF_A_DELETION: dict[str, Any] = {"success": True}
FIRST, REGIONAL, SECOND = 1, 2, 3
"""The machines: two with warm pool and CPU VM, so that each form of `execute` has its own, and one on a volume."""


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


@dataclass
class Play:
    """The daemon, and what its machines are called there in place of the document's ids."""

    theatre: Theatre
    http: httpx.AsyncClient
    executed: int = 0
    made: list[int] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def of(cls, loop: VirtualLoop) -> AsyncIterator[Play]:
        strategies = ("both", "regional_volume", "both")
        theatre = Theatre(Plan(7, 3, 1, strategies, "allowed", hosts=REGIONAL_HOSTS, cpu_vms=True), loop)
        replica = ApiReplica("replica-0", theatre)
        theatre.replicas = [replica]
        theatre.begin()
        replica.start()
        await theatre.clock.sleep(5.0)
        await theatre.register()
        transport = httpx.ASGITransport(create_app(replica.services), client=("127.0.0.1", 1))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://failoverd", headers=headers) as http:
            play = cls(theatre, http)
            await play.ready()
            yield play

    async def ready(self) -> None:
        """Every machine is healthy, and ready by all of its strategies."""
        for _ in range(200):
            told = [(await self.http.get(f"{BASE}/readiness/{number}")).json() for number in (FIRST, SECOND)]
            both = all(one["warm_pool_ready"] and one["cpu_standby_ready"] for one in told)
            vms = all(one["cpu_standby_status"]["cpu_vm_running"] for one in told)
            volume = (await self.http.get(f"{BASE}/readiness/{REGIONAL}")).json()["overall_ready"]
            if both and vms and volume:
                return
            await self.theatre.clock.sleep(10.0)
        raise AssertionError(told)

    async def machine(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get(f"/api/v1/machines/{number}")).json()
        return found

    async def send(self, example: Example) -> httpx.Response:
        """The example with our ids in place of the document's; every other value is sent as it stands there."""
        number = self._machine_for(example)
        machine = await self.machine(number)
        place = {name: machine[name] for name in ("gpu_instance_id", "ssh_host", "ssh_port")}
        query = {name: str(place.get(name, value)) for name, value in example.query.items()}
        if example.route == "POST /test/{machine_id}":
            assert query == {**{name: str(value) for name, value in place.items()}, "dry_run": "true"}
        path = example.path.format(machine_id=number, volume_id=self.made[0] if self.made else 0, region="US")
        body = example.body
        if example.route == "POST /execute":
            body = {**body, **place, "machine_id": number}
        elif example.route == "POST /regional-volume/failover":
            volume = (await self.http.get(f"{BASE}/regional-volume/{machine['volume_id']}")).json()
            old = {
                "volume_id": volume["volume_id"],
                "region": volume["region"],
                "old_instance_id": volume["attached_instance_id"],
            }
            body = {**body, **old}
        answer = await self.http.request(example.method, BASE + path, json=body, params=query)
        if example.route == "POST /regional-volume/create":
            self.made.append(answer.json()["volume_id"])
        return answer

    def _machine_for(self, example: Example) -> int:
        if example.route == "POST /execute":
            self.executed += 1
            return (FIRST, SECOND)[self.executed - 1]
        return REGIONAL if "regional-volume" in example.path else FIRST


LAST = ("POST /execute", "POST /regional-volume/failover", "DELETE /regional-volume/{volume_id}")
"""What changes the machines comes after what only looks at them."""


def test_every_example_of_the_contract_is_answered_with_its_fields_and_types() -> None:
    shown = sorted(
        examples(),
        key=lambda example: (example.route in LAST, LAST.index(example.route) if example.route in LAST else 0),
    )
    # A volume must be made before it can be looked at.
    shown.sort(key=lambda example: example.route != "POST /regional-volume/create")
    faults: list[str] = []

    async def story(loop: VirtualLoop) -> None:
        async with Play.of(loop) as play:
            for example in shown:
                answer = await play.send(example)
                faults.extend(f"{example.route}: {fault}" for fault in _faults(example, answer))

    run_virtually(story)
    assert faults == []


def _faults(example: Example, answer: httpx.Response) -> list[str]:
    if answer.status_code != 200:
        return [f"{answer.status_code} {answer.text}"]
    promised = example.answer
    if promised is None:
        promised = OF_A_VOLUME if example.method == "GET" else OF_A_DELETION
    found = answer.json()
    wrong = has_shape(promised, found)
    if example.route == "GET /strategies" and found != promised:
        wrong.append("the texts differ")
    if found.get("success") is False:
        wrong.append(f"it failed: {answer.text}")
    return wrong


def test_the_document_has_every_route_and_each_is_tried() -> None:
    assert [(example.route, example.body is not None, bool(example.query)) for example in examples()] == [
        ("POST /execute", True, False),
        ("POST /execute", True, False),
        ("GET /readiness/{machine_id}", False, False),
        ("GET /status/{machine_id}", False, False),
        ("POST /test/{machine_id}", False, True),
        ("GET /strategies", False, False),
        ("POST /regional-volume/create", True, False),
        ("POST /regional-volume/create", True, False),
        ("POST /regional-volume/failover", True, False),
        ("GET /regional-volume/list", False, False),
        ("GET /regional-volume/{volume_id}", False, False),
        ("DELETE /regional-volume/{volume_id}", False, False),
        ("GET /regional-volume/search/{region}", False, False),
    ]


def test_the_codes_of_the_contract_are_those_of_the_daemon() -> None:
    async def story(loop: VirtualLoop) -> None:
        async with Play.of(loop) as play:
            machine = await play.machine(FIRST)
            body = {name: machine[name] for name in ("gpu_instance_id", "ssh_host", "ssh_port")} | {"machine_id": FIRST}
            execute = f"{BASE}/execute"
            assert (await play.http.post(execute, json={**body, "ssh_port": 0})).status_code == 400
            assert (await play.http.post(execute, json={**body, "machine_id": 99})).status_code == 404
            assert (await play.http.get(f"{BASE}/regional-volume/99")).status_code == 404
            begun = await play.http.post(execute, json=body, headers={"Prefer": "respond-async"})
            assert begun.status_code == 202
            again = await play.http.post(execute, json=body)
            assert (again.status_code, again.json()["failover_id"]) == (409, begun.json()["failover_id"])

    run_virtually(story)
