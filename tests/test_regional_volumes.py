"""The routes of /failover/regional-volume before the whole daemon and a simulated provider, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import httpx
import pytest

from adapters.sim.faults import Fault, FaultKind
from adapters.sim.instances import Instance
from adapters.sql.tx import Tx
from adapters.virtual_clock import VirtualLoop, run_virtually, spawn
from daemon.api import create_app
from daemon.api.documents import (
    OfferSearchAnswer,
    ReadinessAnswer,
    VolumeAnswer,
    VolumeDeleted,
    VolumeFailoverAnswer,
    VolumeMade,
    VolumesAnswer,
)
from daemon.api.services import Services
from daemon.asked import Asked
from daemon.regional import begin_deletion
from daemon.simulation.replica import TOKEN, NoApi, Replica
from daemon.simulation.theatre import REGIONAL_HOSTS, Plan, Theatre
from daemon.surroundings import Surroundings
from events.schema import Command
from machines.model import (
    FailoverId,
    HostId,
    InstanceId,
    Machine,
    MachineId,
    Reason,
    Rung,
    Running,
    Volume,
    VolumeId,
    VolumeMount,
    Wishes,
)
from machines.problems import Problem
from tests.test_api_stage import has_shape

BASE = "/api/v1/failover/regional-volume"
MADE: dict[str, Any] = {"success": True, "volume_id": 12345, "region": "US", "size_gb": 50}
FAILED_OVER: dict[str, Any] = {
    "success": True,
    "volume_id": 12345,
    "old_instance_id": 456789,
    "new_instance_id": 789012,
    "new_gpu_name": "RTX_4090",
    "region": "US",
    "failover_time_seconds": 45.2,
    "message": "Failover completed successfully",
    "ssh_host": "ssh6.vast.ai",
    "ssh_port": 54321,
}
OFFER: dict[str, Any] = {
    "offer_id": 123456,
    "gpu_name": "RTX_4090",
    "num_gpus": 1,
    "price_per_hour": 0.45,
    "reliability": 0.98,
    "geolocation": "US",
}
"""The seed's answers."""


class ApiReplica(Replica):
    """A replica whose API can be spoken to."""

    services: Services

    def _surroundings(self) -> Surroundings:
        def api(services: Services) -> NoApi:
            self.services = services
            return NoApi()

        return replace(super()._surroundings(), api=api)


@dataclass
class Play:
    theatre: Theatre
    http: httpx.AsyncClient

    @classmethod
    @asynccontextmanager
    async def of(cls, loop: VirtualLoop, machines: int, **policy: float):  # type: ignore[no-untyped-def]
        theatre = Theatre(Plan(7, machines, 1, ("regional_volume",) * machines, "refused", hosts=REGIONAL_HOSTS), loop)
        theatre.settings = theatre.settings.model_copy(
            update={"policy": theatre.settings.policy.model_copy(update=policy)}
        )
        replica = ApiReplica("replica-0", theatre)
        theatre.replicas = [replica]
        theatre.begin()
        replica.start()
        await theatre.clock.sleep(5.0)
        await theatre.register()
        transport = httpx.ASGITransport(create_app(replica.services), client=("127.0.0.1", 1))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://failoverd", headers=headers) as client:
            yield cls(theatre, client)

    @property
    def volumes(self) -> dict[int, Any]:
        return self.theatre.world.world.volumes.volumes

    @property
    def first(self) -> Instance:
        """The instance of machine 1."""
        primary = self.theatre.books.machines()[0].primary
        return self.theatre.world.world.instances[primary or 0]

    def break_it(self, kind: FaultKind, endpoint: str, count: int | None = None, **more: Any) -> None:
        order = Fault(kind, endpoint, count=count, **more)
        self.theatre.world.world.faults.order(order, self.theatre.clock.now(), None)

    async def create(self, region: str = "US", headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        body = {"region": region, "size_gb": 50, **more}
        return await self.http.post(f"{BASE}/create", json=body, headers=headers)

    async def fail_over(self, **change: Any) -> httpx.Response:
        volumes = (await self.http.get(f"{BASE}/list")).json()["volumes"]
        listed = next(one for one in volumes if one["machine_id"] == 1)
        body = {"volume_id": listed["volume_id"], "region": listed["region"], "old_instance_id": self.first.id}
        return await self.http.post(f"{BASE}/failover", json={**body, **change})

    async def until(self, what: Callable[[], Awaitable[Any]], seconds: float = 900.0) -> Any:
        deadline = self.theatre.clock.monotonic() + seconds
        while self.theatre.clock.monotonic() < deadline:
            found = await what()
            if found:
                return found
            await self.theatre.clock.sleep(2.0)
        raise AssertionError("it never happened")

    async def with_replica(self) -> dict[str, Any]:
        """The one volume, once it has a copy."""

        async def look() -> Any:
            volumes = (await self.http.get(f"{BASE}/list")).json()["volumes"]
            kept = volumes and [one for one in volumes[0]["replicas"] if one["status"] == "available"]
            return volumes[0] if kept else None

        found: dict[str, Any] = await self.until(look)
        return found


Story = Callable[[Play], Coroutine[Any, Any, None]]


def played(machines: int = 0, **policy: float) -> Callable[[Story], Callable[[], None]]:
    def made(story: Story) -> Callable[[], None]:
        @wraps(story)
        def run() -> None:
            async def play(loop: VirtualLoop) -> None:
                async with Play.of(loop, machines, **policy) as stage:
                    await story(stage)

            run_virtually(play)

        del run.__wrapped__  # type: ignore[attr-defined]
        return run

    return made


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


# -- making, showing, deleting


@played()
async def test_a_volume_is_made_shown_and_deleted(s: Play) -> None:
    made = await s.create(name="my-volume")
    assert made.status_code == 200
    assert has_shape(MADE, made.json()) == []
    VolumeMade.model_validate(made.json())
    number = made.json()["volume_id"]
    (truth,) = s.volumes.values()
    assert (truth.id, truth.size_gb, truth.host.country) == (number, 50.0, "US")
    listed = (await s.http.get(f"{BASE}/list")).json()
    VolumesAnswer.model_validate(listed)
    assert listed["count"] == 1
    one = (await s.http.get(f"{BASE}/{number}")).json()
    VolumeAnswer.model_validate(one)
    assert one == listed["volumes"][0]
    assert (one["name"], one["status"], one["attached_instance_id"]) == ("my-volume", "available", None)
    assert one["price_per_month"] == pytest.approx(50 * truth.host.storage_price)
    gone = await s.http.delete(f"{BASE}/{number}")
    VolumeDeleted.model_validate(gone.json())
    assert (gone.status_code, gone.json()["status"], s.volumes) == (200, "deleted", {})
    assert (await s.http.get(f"{BASE}/{number}")).status_code == 404
    assert (await s.http.delete(f"{BASE}/{number}")).json()["code"] == "unknown_volume"


@played()
async def test_a_region_without_room_is_told_and_leaves_nothing(s: Play) -> None:
    answer = await s.create("AQ")
    assert (answer.status_code, answer.json()["code"]) == (503, "no_offer_matches")
    assert (await s.http.get(f"{BASE}/list")).json() == {"volumes": [], "count": 0, "next_cursor": None}
    assert s.volumes == {}


BAD = [
    ("region", {"region": "us"}),
    ("region", {"region": "ZZ"}),
    ("region", {"region": "USA"}),
    ("region", {"region": None}),
    ("size_gb", {"size_gb": 0}),
    ("size_gb", {"size_gb": 1.5}),
    ("size_gb", {"size_gb": "50"}),
    ("size_gb", {"size_gb": True}),
    ("name", {"name": ""}),
    ("nmae", {"nmae": "x"}),
]


@played()
async def test_a_bad_request_for_a_volume_is_400_with_its_field_and_makes_nothing(s: Play) -> None:
    for name, change in BAD:
        answer = await s.http.post(f"{BASE}/create", json={"region": "US", "size_gb": 50, **change})
        assert (answer.status_code, answer.json()["field"]) == (400, name), change
        assert answer.headers["content-type"] == "application/problem+json"
    assert s.volumes == {}
    assert s.theatre.books.commands() == []


@played()
async def test_one_key_makes_one_volume_whenever_it_is_sent_again(s: Play) -> None:
    key = {"Idempotency-Key": "k1"}
    both = await asyncio.gather(s.create(headers=key), s.create(headers=key))
    again = await s.create(headers=key)
    assert [answer.status_code for answer in (*both, again)] == [200] * 3
    assert both[0].json() == both[1].json() == again.json()
    assert len(s.volumes) == 1
    other = await s.create(headers=key, name="another")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    refused = {"Idempotency-Key": "k2"}
    assert [(await s.create("AQ", headers=refused)).status_code for _ in range(2)] == [503, 503]


@played()
async def test_a_client_may_rather_look_later(s: Play) -> None:
    answer = await s.create(headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["location"]) == (202, f"{BASE}/list")
    await s.theatre.clock.sleep(30.0)
    assert (await s.http.get(answer.headers["location"])).json()["count"] == 1


LOST = [
    (FaultKind.TIMEOUT_AFTER, {"seconds": 20.0}),
    (FaultKind.TIMEOUT_BEFORE, {"seconds": 20.0}),
    (FaultKind.STATUS_AFTER, {"status": 502}),
    (FaultKind.MALFORMED, {}),
]


@pytest.mark.parametrize(("kind", "more"), LOST, ids=lambda one: getattr(one, "value", ""))
def test_a_create_whose_answer_is_lost_makes_one_volume(kind: FaultKind, more: dict[str, Any]) -> None:
    @played()
    async def story(s: Play) -> None:
        s.break_it(kind, "create_volume", 1, **more)
        answer = await s.create()
        assert answer.status_code == 200
        assert list(s.volumes) == [answer.json()["volume_id"]]

    story()


@played()
async def test_a_provider_that_gives_no_answer_is_told_after_two_minutes_and_nothing_is_left(s: Play) -> None:
    s.break_it(FaultKind.STATUS, "search_volumes", status=503)
    answer = await s.create()
    assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
    s.theatre.world.world.faults.clear()
    await s.theatre.clock.sleep(300.0)
    assert (s.volumes, s.theatre.books.volumes(), s.theatre.books.debts()) == ({}, [], [])


@played()
async def test_the_other_door_makes_volumes_too_and_each_command_has_one_answer(s: Play) -> None:
    daemon = s.theatre.replicas[0].daemon
    assert daemon is not None
    now = s.theatre.clock.now()
    for number, region in (("c1", "US"), ("c1", "US"), ("c2", "AQ")):
        arguments = {"region": region, "size_gb": 20}
        command = Command("create_volume", command_id=number, arguments=arguments)
        await daemon.commands.submit(Asked(command, "kafka", "a program", now, now))
    with pytest.raises(Problem, match=r"arguments\.size_gb"):
        await daemon.commands.submit(
            Asked(Command("create_volume", command_id="c3", arguments={"region": "US"}), "kafka", "a program", now, now)
        )
    await s.theatre.clock.sleep(60.0)
    assert [(row.id, row.status) for row in s.theatre.books.commands()] == [
        ("c1", "succeeded"),
        ("c2", "refused"),
        ("c3", "refused"),
    ]
    assert len(s.volumes) == 1


@played()
async def test_a_daemon_that_dies_in_the_create_gives_the_same_answer_in_its_next_life(s: Play) -> None:
    s.break_it(FaultKind.TIMEOUT_AFTER, "create_volume", 1, seconds=20.0)
    key = {"Idempotency-Key": "k1", "Prefer": "respond-async"}
    assert (await s.create(headers=key)).status_code == 202
    await s.theatre.clock.sleep(12.0)
    replica = s.theatre.replicas[0]
    assert isinstance(replica, ApiReplica)
    assert len(s.volumes) == 1, "made, and nobody knows it yet"
    replica.kill()
    replica.start()
    await s.theatre.clock.sleep(5.0)
    transport = httpx.ASGITransport(create_app(replica.services), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://failoverd", headers=s.http.headers) as http:
        body = {"region": "US", "size_gb": 50}
        answer = await http.post(f"{BASE}/create", json=body, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 200
    assert list(s.volumes) == [answer.json()["volume_id"]]


def killed_at(boundary: int) -> int:
    """Make a volume, kill the daemon at this boundary of it, and start it again: one volume, one answer. How many boundaries
    there were."""
    passed: list[str] = []

    @played()
    async def story(s: Play) -> None:
        replica = s.theatre.replicas[0]

        def look(what: str) -> None:
            passed.append(what)
            if len(passed) == boundary:
                replica.kill()
                spawn(None, again(), "the supervisor")

        async def again() -> None:
            await s.theatre.clock.sleep(2.0)
            replica.start()

        def on_commit(_: Replica, work: str) -> None:
            if work.startswith(("VolumeClaims.", "VolumeDebts.", "Sweep._begin", "Sweep._pay")):
                look(work)

        def on_call(_: Replica, request: httpx.Request) -> None:
            if "/volumes" in request.url.path and request.method != "GET":
                look(f"{request.method} {request.url.path}")

        s.theatre.on_commit, s.theatre.on_call = on_commit, on_call
        s.theatre.on_answer = lambda replica, request, response: on_call(replica, request)
        await s.create(headers={"Prefer": "respond-async"})

        async def is_over() -> bool:
            return s.theatre.books.commands()[0].status != "accepted" and not s.theatre.books.debts()

        await s.until(is_over)
        await s.theatre.clock.sleep(180.0)
        (command,), (row,) = s.theatre.books.commands(), s.theatre.books.volumes()
        assert (command.status, row.status) == ("succeeded", "available"), passed[boundary - 1]
        assert list(s.volumes) == [row.volume], passed[boundary - 1]

    story()
    return len(passed)


def test_a_daemon_that_dies_at_any_boundary_of_a_create_makes_one_volume() -> None:
    count = killed_at(0)
    assert count >= 8
    for boundary in range(1, count + 1):
        killed_at(boundary)


@played(machines=1)
async def test_a_volume_that_is_held_is_not_deleted(s: Play) -> None:
    shown = await s.with_replica()
    answer = await s.http.delete(f"{BASE}/{shown['volume_id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "volume_attached")
    assert (shown["status"], shown["machine_id"], shown["attached_instance_id"]) == ("in_use", 1, s.first.id)


@played()
async def test_a_volume_that_a_list_lacks_is_not_taken_for_one_that_nothing_has_mounted(s: Play) -> None:
    made = (await s.create()).json()["volume_id"]
    s.break_it(FaultKind.EMPTY_LIST, "list_volumes")
    answer = await s.http.delete(f"{BASE}/{made}")
    assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
    s.theatre.world.world.faults.clear()
    await s.theatre.clock.sleep(15.0)
    assert (await s.http.get(f"{BASE}/{made}")).json()["status"] == "available"
    s.theatre.world.world.volumes.delete(s.theatre.clock.now(), made)  # By hand, at the provider.
    answer = await s.http.delete(f"{BASE}/{made}")
    assert answer.status_code == 200, answer.json()


@played(machines=1)
async def test_a_volume_that_a_running_failover_was_told_to_go_on_with_is_not_deleted(s: Play) -> None:
    made = (await s.create()).json()["volume_id"]
    daemon, now = s.theatre.replicas[0].daemon, s.theatre.clock.now()
    assert daemon is not None
    listed = {VolumeId(made): Volume(VolumeId(made), HostId(1), 50.0, ())}
    running = Running(
        FailoverId("fo_1"),
        Reason.HTTP,
        (Rung.REGIONAL_VOLUME,),
        0,
        now,
        1,
        wishes=Wishes(volume=VolumeMount(VolumeId(made), "/workspace")),
    )

    def work(tx: Tx) -> None:
        one = tx.insert_machine(Machine(MachineId(5), "five", primary=InstanceId(5)))
        tx.begin_failover(one, running, one.setting, "", "", None, None)
        tx.save_machine(replace(one, failover=running))
        begin_deletion(tx, made, listed, None, now)

    with pytest.raises(Problem, match="machine 5 has regional volume"):
        await daemon.store.transact(work)


@played()
async def test_an_outage_of_the_provider_is_none_of_a_volume(s: Play) -> None:
    await s.create()
    s.break_it(FaultKind.STATUS, "list_volumes", status=503)
    await s.theatre.clock.sleep(60.0)
    answer = await s.http.get(f"{BASE}/list")
    assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")


@played()
async def test_without_a_token_nobody_comes_in(s: Play) -> None:
    for method, path in (("POST", "create"), ("POST", "failover"), ("GET", "list"), ("GET", "5"), ("DELETE", "5")):
        bare = await s.http.request(method, f"{BASE}/{path}", headers={"Authorization": ""})
        assert bare.status_code == 401


# -- search


@played()
async def test_a_search_finds_the_cheapest_gpu_of_the_region(s: Play) -> None:
    body = (await s.http.get(f"{BASE}/search/US")).json()
    OfferSearchAnswer.model_validate(body)
    assert has_shape({"found": True, "offer": OFFER}, body) == []
    assert body["offer"]["geolocation"] == "US"
    name = body["offer"]["gpu_name"]
    for params in ({"gpu_name": name}, {"gpu_name": name.replace("_", " ")}, {"max_price": "20"}):
        assert (await s.http.get(f"{BASE}/search/US", params=params)).json()["offer"] == body["offer"]
    for params in ({"gpu_name": "RTX_9999"}, {"max_price": "0.01"}):
        found = (await s.http.get(f"{BASE}/search/US", params=params)).json()
        assert found == {"found": False, "offer": None}
    assert (await s.http.get(f"{BASE}/search/AT")).json()["offer"]["geolocation"] == "AT"


@played()
async def test_a_bad_search_is_400_with_its_field(s: Play) -> None:
    for path, field in (
        ("search/us", "region"),
        ("search/USA", "region"),
        ("search/US?max_price=0", "max_price"),
        ("search/US?max_price=-1", "max_price"),
        ("search/US?max_price=1e3", "max_price"),
        ("search/US?max_price=nan", "max_price"),
        ("search/US?gpu_name=", "gpu_name"),
        ("search/US?gpu=x", "gpu"),
        ("seven", "volume_id"),
    ):
        answer = await s.http.get(f"{BASE}/{path}")
        assert (answer.status_code, answer.json()["field"]) == (400, field), path
    assert "it must be above 0" in (await s.http.get(f"{BASE}/search/US?max_price=-1")).json()["detail"]


# -- failover


@played(machines=1)
async def test_a_failover_honours_what_it_is_told_and_its_answer_is_the_contracts(s: Play) -> None:
    shown = await s.with_replica()
    old, number = s.first, shown["volume_id"]
    wishes = {
        "preferred_gpus": ["H100_SXM", "RTX_4090"],
        "max_price": 5.0,
        "use_spot": True,
        "docker_image": "pytorch/pytorch:2.6",
        "mount_path": "/data",
    }
    answer = await s.fail_over(**wishes)
    body = answer.json()
    assert answer.status_code == 200
    assert has_shape(FAILED_OVER, body) == []
    VolumeFailoverAnswer.model_validate(body)
    assert (body["success"], body["volume_id"], body["old_instance_id"]) == (True, number, old.id)
    assert (body["data_age_seconds"], body["new_gpu_name"]) == (0.0, "RTX_4090")
    new = s.first
    assert new.id == body["new_instance_id"] != old.id
    assert (new.image, new.host, new.mounts[0].path, new.mounts[0].volume_id) == (
        "pytorch/pytorch:2.6",
        old.host,
        "/data",
        number,
    )
    assert new.bid is not None
    assert 0 < new.bid <= 5.0
    machine = (await s.http.get("/api/v1/machines/1")).json()
    assert (machine["volume_path"], machine["workspace_path"], machine["image"]) == ("/data", "/data", old.image)
    files = s.theatre.people[0].files
    assert all(s.theatre.world.bodies.of[new.id].read(f"/data/{name}") == content for name, content in files)
    timeline = (await s.http.get(f"/api/v1/failovers/{body['failover_id']}")).json()
    assert timeline["strategy_succeeded"] == "regional_volume"
    assert [step["name"] for step in timeline["attempts"][0]["steps"]][:3] == [
        "find_place",
        "fence_primary",
        "await_release",
    ]


@played()
async def test_a_machine_without_a_volume_is_moved_to_one_that_is_named_also_from_a_dead_host(s: Play) -> None:
    """Another instance made it, say: what lies on it is for whoever named it to know."""
    world = s.theatre.world
    (instance,) = world.load({"count": 1, "env": {"FAILOVERD_MACHINE_ID": "5"}})
    body = {"gpu_instance_id": instance.id, "strategy": "disabled"}
    assert (await s.http.put("/api/v1/machines/5", json=body)).status_code == 201
    made = (await s.create(instance.host.country)).json()["volume_id"]
    world.world.kill_host(instance.host, s.theatre.clock.now())
    await s.theatre.clock.sleep(150.0)
    wanted = {"volume_id": made, "old_instance_id": instance.id, "preferred_gpus": ["RTX_4090"], "max_price": 9.0}
    answer = (await s.http.post(f"{BASE}/failover", json=wanted)).json()
    assert (answer["success"], answer["data_age_seconds"]) == (True, None), answer
    assert world.world.instances[answer["new_instance_id"]].mounts[0].volume_id == made
    shown = (await s.http.get(f"{BASE}/{made}")).json()
    assert (shown["machine_id"], shown["attached_instance_id"]) == (5, answer["new_instance_id"])


@played(machines=1)
async def test_a_gpu_that_nobody_wished_for_is_not_taken_and_the_living_primary_is_left_alone(s: Play) -> None:
    await s.with_replica()
    old = s.first
    body = (await s.fail_over(preferred_gpus=["H100_SXM"])).json()
    assert (body["success"], body["error"], body["new_instance_id"]) == (False, "no_offer_matches", None)
    assert s.first.id == old.id
    assert s.theatre.world.bodies.of[old.id].serves
    assert len(s.theatre.world.world.instances) == 1


@played(machines=1)
async def test_a_failover_of_what_nobody_knows_is_404(s: Play) -> None:
    await s.with_replica()
    volume = await s.fail_over(volume_id=99)
    instance = await s.fail_over(old_instance_id=99)
    assert (volume.status_code, volume.json()["code"]) == (404, "unknown_volume")
    assert (instance.status_code, instance.json()["code"]) == (404, "unknown_machine")


@played(machines=2)
async def test_a_failover_that_cannot_be_is_409_and_a_bad_one_400(s: Play) -> None:
    await s.with_replica()
    await s.theatre.clock.sleep(60.0)
    volumes = (await s.http.get(f"{BASE}/list")).json()["volumes"]
    others = next(one for one in volumes if one["machine_id"] == 2)
    of_another = await s.fail_over(volume_id=others["volume_id"], region=others["region"])
    assert (of_another.status_code, of_another.json()["code"]) == (409, "volume_attached")
    elsewhere = await s.fail_over(region="AQ")
    assert (elsewhere.status_code, elsewhere.json()["field"]) == (400, "region")
    for name, value in (
        ("max_price", 0),
        ("max_price", "0.5"),
        ("use_spot", 1),
        ("preferred_gpus", "RTX_4090"),
        ("mount_path", "/etc"),
        ("mount_path", "data"),
        ("docker_image", ""),
        ("volume", 1),
    ):
        bad = await s.fail_over(**{name: value})
        assert (bad.status_code, bad.json()["field"]) == (400, name), value
    unknown = (await s.http.post(f"{BASE}/failover", json={"volume_id": 881})).json()
    assert unknown["field"] == "old_instance_id"
    first = asyncio.create_task(s.fail_over())
    await s.theatre.clock.sleep(1.0)
    second = await s.fail_over()
    assert (second.status_code, second.json()["code"]) == (409, "failover_in_progress")
    done = (await first).json()
    assert second.json()["failover_id"] == done["failover_id"]
    assert done["success"]


@played(machines=1)
async def test_a_failover_is_repeated_under_its_key_and_watched_elsewhere_by_who_prefers_that(s: Play) -> None:
    shown = await s.with_replica()
    body = {"volume_id": shown["volume_id"], "old_instance_id": s.first.id}
    headers = {"Idempotency-Key": "k1", "Prefer": "respond-async"}
    first = await s.http.post(f"{BASE}/failover", json=body, headers=headers)
    assert first.status_code == 202
    where = first.headers["location"]
    await s.until(lambda: _ended(s, where))
    again = await s.http.post(f"{BASE}/failover", json=body, headers={"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()["success"]) == (200, True)
    assert again.json()["failover_id"] == where.rpartition("/")[2]


async def _ended(s: Play, where: str) -> bool:
    return (await s.http.get(where)).json()["state"] != "running"


# -- replicas


@played(machines=1)
async def test_a_dead_host_leaves_the_volumes_id_as_it_was_and_its_data_as_old_as_the_copy(s: Play) -> None:
    shown = await s.with_replica()
    (copy,) = shown["replicas"]
    assert copy["copied_from"] == shown["provider_volume_id"]
    assert s.volumes[copy["provider_volume_id"]].host.country == shown["region"]
    old = s.first
    s.theatre.world.world.kill_host(old.host, s.theatre.clock.now())
    s.theatre.world.carry_out()
    await s.until(lambda: _lives_elsewhere(s, old.id))
    failover = (await s.http.get("/api/v1/failovers")).json()["failovers"][0]
    attempts = (await s.http.get(f"/api/v1/failovers/{failover['failover_id']}")).json()["attempts"]
    assert [(one["strategy"], one["code"]) for one in attempts] == [
        ("regional_volume", "host_offline"),
        ("regional_volume", None),
    ]
    answer = (await s.http.get(f"/api/v1/failovers/{failover['failover_id']}")).json()
    assert answer["new"]["data_age_seconds"] > 0
    moved = (await s.http.get(f"{BASE}/{shown['volume_id']}")).json()
    assert moved["provider_volume_id"] == copy["provider_volume_id"]
    assert moved["attached_instance_id"] == s.first.id
    await s.theatre.clock.sleep(300.0)
    fresh = await s.with_replica()
    assert fresh["volume_id"] == shown["volume_id"]
    assert sorted(s.volumes) == sorted((fresh["provider_volume_id"], fresh["replicas"][0]["provider_volume_id"]))


async def _lives_elsewhere(s: Play, old: int) -> bool:
    machine = (await s.http.get("/api/v1/machines/1")).json()
    return machine["state"] == "healthy" and machine["gpu_instance_id"] != old


@played(machines=1, replica_every_s=300.0)
async def test_a_copy_is_renewed_and_the_one_before_it_goes_only_then(s: Play) -> None:
    first = (await s.with_replica())["replicas"][0]["provider_volume_id"]
    readiness = (await s.http.get("/api/v1/failover/readiness/1?refresh=true")).json()
    ReadinessAnswer.model_validate(readiness)
    assert readiness["regional_volume_ready"] is readiness["overall_ready"] is True
    assert readiness["regional_volume_status"]["replica_age_seconds"] < 120
    s.break_it(FaultKind.STATUS, "clone_volume", status=500)
    await s.theatre.clock.sleep(900.0)
    aged = (await s.http.get("/api/v1/failover/readiness/1?refresh=true")).json()
    assert aged["regional_volume_status"]["replica_age_seconds"] > 900
    assert first in s.volumes
    s.theatre.world.world.faults.clear()
    await s.theatre.clock.sleep(600.0)
    (second,) = (await s.with_replica())["replicas"]
    assert second["provider_volume_id"] != first
    assert first not in s.volumes
    assert len(s.volumes) == 2


@played(machines=1, replica_every_s=300.0)
async def test_an_emptied_volume_does_not_take_the_place_of_a_good_copy(s: Play) -> None:
    shown = await s.with_replica()
    (copy,) = shown["replicas"]
    s.theatre.world.bodies._volumes[shown["provider_volume_id"]].clear()
    await s.theatre.clock.sleep(900.0)
    (kept,) = (await s.with_replica())["replicas"]
    assert kept["provider_volume_id"] == copy["provider_volume_id"]
    assert len(s.volumes) == 2
    assert any("bears the mark of machine 1 no more" in text for text in s.theatre.books.alerts().values())


def _first_copy(s: Play, becomes: Callable[[int], object]) -> list[int]:
    """What becomes of the first copy while it is made; its id, once it is."""
    made: list[int] = []

    def look(_: Replica, request: httpx.Request, response: httpx.Response) -> None:
        if request.url.path.endswith("/volumes/copy/") and response.status_code == 200 and not made:
            made.append(max(s.volumes))
            becomes(made[0])

    s.theatre.on_answer = look
    return made


@played(machines=1)
async def test_a_copy_that_never_becomes_whole_is_told_and_after_an_hour_deleted_and_made_anew(s: Play) -> None:
    made = _first_copy(s, lambda number: setattr(s.volumes[number], "is_stuck", True))
    await s.theatre.clock.sleep(50 * 60.0)
    (half,) = made
    assert half in s.volumes
    assert any(f"copy {half} is not whole yet" in text for text in s.theatre.books.alerts().values())
    await s.theatre.clock.sleep(20 * 60.0)
    shown = await s.with_replica()
    assert half not in s.volumes
    assert sorted(s.volumes) == sorted(one["provider_volume_id"] for one in (shown, *shown["replicas"]))
    assert not any("clone_volume" in text for text in s.theatre.books.alerts().values())


@played(machines=1)
async def test_a_copy_that_is_gone_before_it_was_whole_is_made_anew_and_not_for_one_list_that_lacks_it(s: Play) -> None:
    shelf = s.theatre.world.world.volumes
    made = _first_copy(s, lambda number: shelf.delete(s.theatre.clock.now(), number))
    await s.theatre.clock.sleep(8 * 60.0)
    assert list(s.volumes) == [s.theatre.books.volumes()[0].volume]
    assert [row.volume for row in s.theatre.books.volumes()[1:]] == made
    await s.theatre.clock.sleep(5 * 60.0)
    (copy,) = (await s.with_replica())["replicas"]
    assert copy["provider_volume_id"] in s.volumes
    assert copy["provider_volume_id"] not in made


@played(machines=1)
async def test_lists_that_are_empty_give_no_copy_up(s: Play) -> None:
    made = _first_copy(s, lambda number: setattr(s.volumes[number], "is_stuck", True))
    await s.theatre.clock.sleep(5 * 60.0)
    s.break_it(FaultKind.EMPTY_LIST, "list_volumes")
    await s.theatre.clock.sleep(45 * 60.0)
    s.volumes[made[0]].is_stuck = False
    s.theatre.world.world.faults.clear()
    (kept,) = (await s.with_replica())["replicas"]
    assert kept["provider_volume_id"] == made[0]


@played()
async def test_a_delete_that_has_no_effect_is_repeated_and_the_volume_keeps_its_row_until_it_is_gone(s: Play) -> None:
    made = (await s.create()).json()["volume_id"]
    s.break_it(FaultKind.STATUS, "delete_volume", status=200, body={"success": True})
    await s.http.delete(f"{BASE}/{made}", headers={"Prefer": "respond-async"})
    await s.theatre.clock.sleep(120.0)
    assert (await s.http.get(f"{BASE}/{made}")).json()["status"] == "deleting"
    s.theatre.world.world.faults.clear()
    await s.theatre.clock.sleep(120.0)
    assert (s.volumes, s.theatre.books.volumes()) == ({}, [])


@played(machines=1)
async def test_a_copy_of_a_volume_that_the_machine_lies_on_no_more_is_given_up(s: Play) -> None:
    shown = await s.with_replica()
    made = (await s.create(shown["region"])).json()["volume_id"]
    elsewhere = await s.http.put("/api/v1/machines/1", json={"volume_id": made})
    assert (elsewhere.status_code, elsewhere.json()["field"]) == (400, "volume_id"), (
        "it would be deleted with the machine"
    )
    volume = s.volumes[(await s.http.get(f"{BASE}/{made}")).json()["provider_volume_id"]]
    volume.host, volume.holders = s.first.host, [s.first.id]
    await s.theatre.clock.sleep(10.0)
    assert (await s.http.put("/api/v1/machines/1", json={"volume_id": made})).status_code == 200
    await s.theatre.clock.sleep(60.0)
    assert shown["replicas"][0]["provider_volume_id"] not in s.volumes
    volumes = {one["volume_id"]: one for one in (await s.http.get(f"{BASE}/list")).json()["volumes"]}
    assert (volumes[made]["machine_id"], volumes[shown["volume_id"]]["machine_id"]) == (1, None)


@played(machines=2)
async def test_a_volume_has_one_machine(s: Play) -> None:
    await s.with_replica()
    await s.theatre.clock.sleep(60.0)
    volumes = (await s.http.get(f"{BASE}/list")).json()["volumes"]
    one = next(volume for volume in volumes if volume["machine_id"] == 1)
    answer = await s.http.put("/api/v1/machines/2", json={"volume_id": one["volume_id"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "volume_attached")


@played(machines=1)
async def test_a_copy_or_a_volume_that_is_being_deleted_is_no_machines_to_name(s: Play) -> None:
    shown = await s.with_replica()
    copy = shown["replicas"][0]["provider_volume_id"]
    answer = await s.http.put("/api/v1/machines/1", json={"volume_id": copy})
    assert (answer.status_code, answer.json()["code"]) == (409, "volume_not_available")
    assert f"name regional volume {shown['volume_id']}" in answer.json()["remedy"]
    made = (await s.create(shown["region"])).json()["volume_id"]
    s.break_it(FaultKind.STATUS, "delete_volume", status=503)
    assert (await s.http.delete(f"{BASE}/{made}", headers={"Prefer": "respond-async"})).status_code == 202
    answer = await s.http.put("/api/v1/machines/1", json={"volume_id": made})
    assert (answer.status_code, answer.json()["code"]) == (409, "volume_not_available")
    again = await s.http.put("/api/v1/machines/1", json={"volume_id": shown["volume_id"]})
    assert again.status_code == 200, "the one that it has"


@played(machines=1)
async def test_a_machine_with_another_strategy_gives_its_copy_up(s: Play) -> None:
    shown = await s.with_replica()
    await s.http.put("/api/v1/machines/1", json={"strategy": "cpu_standby"})
    await s.theatre.clock.sleep(120.0)
    assert list(s.volumes) == [shown["provider_volume_id"]]
    assert (await s.http.get(f"{BASE}/{shown['volume_id']}")).json()["replicas"] == []


@played(machines=1)
async def test_a_machine_that_is_removed_leaves_its_volume_and_not_its_copy(s: Play) -> None:
    shown = await s.with_replica()
    assert (await s.http.delete("/api/v1/machines/1")).status_code == 200
    assert [row.status for row in s.theatre.books.volumes()] == ["available", "deleting"]
    await s.theatre.clock.sleep(120.0)
    assert list(s.volumes) == [shown["provider_volume_id"]]
    left = (await s.http.get(f"{BASE}/{shown['volume_id']}")).json()
    assert (left["machine_id"], left["replicas"]) == (None, [])


# -- what nothing explains


@played()
async def test_a_volume_with_our_name_that_nothing_explains_is_deleted_and_nobody_elses_is(s: Play) -> None:
    made = (await s.create()).json()["volume_id"]
    shelf, now = s.theatre.world.world.volumes, s.theatre.clock.now()
    ours, host = s.volumes[made].label, s.volumes[made].host
    prefix = ours.rpartition("_v")[0]
    lost = shelf.make(host, 10.0, f"{prefix}_v77_0", now)
    kept = [shelf.make(host, 10.0, name, now).id for name in ("fo_zzzzzz_v1_0", "research", None)]
    s.theatre.world.carry_out()
    await s.theatre.clock.sleep(300.0)
    assert lost.id not in s.volumes
    assert sorted(s.volumes) == sorted([made, *kept])


@played()
async def test_a_persons_own_copy_of_a_volume_bears_its_name_and_is_only_told(s: Play) -> None:
    made = (await s.create()).json()["volume_id"]
    shelf, now = s.theatre.world.world.volumes, s.theatre.clock.now()
    host, name = s.volumes[made].host, s.volumes[made].label
    copies = [shelf.make(host, 50.0, label, now).id for label in (name, f"{name.rpartition('_v')[0]}_v_mine")]
    s.theatre.world.carry_out()
    await s.theatre.clock.sleep(300.0)
    assert (await s.http.delete(f"{BASE}/{made}")).status_code == 200
    await s.theatre.clock.sleep(300.0)
    assert sorted(s.volumes) == sorted(copies), "nor once its source is gone"
    told = s.theatre.books.alerts()["orphan-volumes"]
    assert all(f"{copy} (" in told for copy in copies)
    assert "somebody's copy" in told


@played(deletes_orphan_volumes=False)
async def test_where_policy_says_so_it_is_only_told(s: Play) -> None:
    made = (await s.create()).json()["volume_id"]
    prefix = s.volumes[made].label.rpartition("_v")[0]
    lost = s.theatre.world.world.volumes.make(s.volumes[made].host, 10.0, f"{prefix}_v77_0", s.theatre.clock.now())
    await s.theatre.clock.sleep(300.0)
    assert lost.id in s.volumes
    assert f"{lost.id} (" in s.theatre.books.alerts()["orphan-volumes"]
    del s.volumes[lost.id]
    await s.theatre.clock.sleep(120.0)
    assert "orphan-volumes" not in s.theatre.books.alerts()
