"""Instances in the flesh: real SSH, real commands, real files, and agents that live and die with their containers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest

from adapters.sim.agents import ProcessStarter
from adapters.sim.keeper import SimSnapshots
from adapters.sim.server import SimServer, SimSettings
from adapters.sim.snapshots import MACHINE_ENV
from adapters.sim.sockets import LoopbackPorts
from adapters.sim.ssh_server import listen
from adapters.system_clock import SystemClock
from machines.errors import NotYet, Refused
from machines.model import Endpoint, InstanceId, MachineId, Snapshot

SPEED = 100.0
AGENT = "failoverd agent --machine {n} --workspace /workspace"


@dataclass
class FakeAgent:
    argv: list[str]
    env: dict[str, str]
    is_running: bool = True
    said: list[str] = field(default_factory=list)

    def terminate(self) -> None:
        self.said.append("terminate")
        self.is_running = False

    def kill(self) -> None:
        self.said.append("kill")
        self.is_running = False

    def pause(self) -> None:
        self.said.append("pause")

    def resume(self) -> None:
        self.said.append("resume")


class FakeStarter:
    """An agent starter that only remembers."""

    def __init__(self) -> None:
        self.agents: dict[int, list[FakeAgent]] = {}

    def start(self, instance_id: int, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> FakeAgent:
        agent = FakeAgent(list(argv), dict(env))
        self.agents.setdefault(instance_id, []).append(agent)
        return agent


class Flesh:
    """A world with bodies, its in-process client, and the owner's key."""

    def __init__(self, sim: SimServer, http: httpx.AsyncClient, starter: FakeStarter, clock: SystemClock) -> None:
        self.sim, self.http, self.starter, self.clock = sim, http, starter, clock
        self.key = asyncssh.generate_private_key("ssh-ed25519")

    async def post(self, path: str, body: Any = None) -> Any:
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def loaded(self, **body: Any) -> list[dict[str, Any]]:
        return list((await self.post("/sim/instances", body))["instances"])

    async def one(self, **body: Any) -> dict[str, Any]:
        [row] = await self.loaded(**body)
        return row

    async def truth(self, instance_id: int) -> dict[str, Any]:
        rows = (await self.http.get("/sim/world")).json()["instances"]
        return next(row for row in rows if row["id"] == instance_id)

    @asynccontextmanager
    async def ssh(self, instance_id: int, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        port = self.sim.world.instances[instance_id].port
        options = {"client_keys": [self.key], "known_hosts": None, "connect_timeout": 5, **options}
        async with asyncssh.connect("127.0.0.1", port, username="root", config=None, agent_path=None, **options) as ssh:
            yield ssh

    async def run(self, instance_id: int, command: str, **options: Any) -> tuple[int | None, str]:
        async with self.ssh(instance_id) as ssh:
            done = await ssh.run(command, **options)
            return done.exit_status, str(done.stdout) + str(done.stderr)

    async def until(self, is_so: Callable[[], object]) -> None:
        for _ in range(500):
            if is_so():
                return
            await asyncio.sleep(0.01)
        pytest.fail("it did not come within 5 s")


@asynccontextmanager
async def flesh(starter: Any = None) -> AsyncIterator[Flesh]:
    clock, fake = SystemClock(SPEED), FakeStarter()
    sim = SimServer(SimSettings(seed=3), clock, starter or fake)
    await sim.start()
    try:
        transport = httpx.ASGITransport(sim.app)
        headers = {"Authorization": "Bearer key"}
        async with httpx.AsyncClient(transport=transport, base_url="http://sim", headers=headers) as http:
            made = Flesh(sim, http, fake, clock)
            await made.post("/api/v0/ssh/", {"ssh_key": made.key.export_public_key().decode()})
            yield made
    finally:
        await sim.stop()


async def test_a_rented_instance_boots_runs_its_start_script_and_answers_on_ssh() -> None:
    async with flesh() as world:
        offer = (await world.post("/api/v0/bundles/", {"limit": 1}))["offers"][0]
        body = {"image": "a/b:1", "disk": 10, "runtype": "ssh_direc", "onstart": "echo up > /workspace/up; " + AGENT}
        made = (await world.http.put(f"/api/v0/asks/{offer['id']}/", json=body)).json()
        instance = world.sim.world.instances[made["new_contract"]]
        await world.until(lambda: instance.ssh_open)
        await world.until(lambda: world.starter.agents)
        assert await world.run(instance.id, "cat /workspace/up") == (0, "up\n")
        [agent] = world.starter.agents[instance.id]
        root = agent.env["HOME"]
        assert agent.argv == ["--machine", "{n}", "--workspace", f"{root}/workspace"]


async def test_commands_are_real_and_see_the_instances_world() -> None:
    async with flesh() as world:
        one = await world.one(env={"TOKEN": "secret", "-p 80:80": "1", "WHERE": "/workspace/x"}, gpu_name="RTX 4090")
        run = lambda command, **options: world.run(one["id"], command, **options)  # noqa: E731
        status, said = await run("nvidia-smi --query-gpu=name,memory.total --format=csv,noheader")
        assert (status, said) == (0, "NVIDIA GeForce RTX 4090, 24564 MiB\n")
        assert (await run("df -Pk /workspace | tail -n 1"))[1].split()[1] == "32000000"
        assert (await run("echo $CONTAINER_ID $VAST_CONTAINERLABEL $GPU_COUNT $TOKEN"))[1] == (
            f"{one['id']} C.{one['id']} 1 secret\n"
        )
        assert (await run("echo hello > /workspace/a; cat ~/workspace/a /root/workspace/a"))[1] == "hello\nhello\n"
        assert (await run('cd /workspace && test "$(pwd)" = "$HOME/workspace" && test "$WHERE" = "$PWD/x"'))[0] == 0
        assert (await run("ls -d /workspace-2 /srv/workspace 2>&1 | grep -c 'sim-'"))[1] == "0\n"
        assert (await run("test -e /workspaces || echo untouched"))[1] == "untouched\n"
        assert await run("cat; echo bad >&2; exit 7", input="in\n") == (7, "in\nbad\n")
        assert (await run("head -c 3000000 /dev/zero | wc -c"))[1].strip() == "3000000"
        async with world.ssh(one["id"]) as ssh:
            killed = await ssh.run("kill -TERM $$")
            assert killed.exit_signal is not None
            assert killed.exit_signal[0] == "TERM"
            async with ssh.start_sftp_client() as sftp:
                assert sorted(await sftp.listdir("/workspace")) == [".", "..", "a"]


async def test_fifty_commands_at_once() -> None:
    async with flesh() as world:
        one = await world.one()
        async with world.ssh(one["id"]) as ssh:
            done = await asyncio.gather(*(ssh.run(f"echo {n}") for n in range(50)))
        assert [str(each.stdout).strip() for each in done] == [str(n) for n in range(50)]


async def test_a_foreign_key_is_refused_until_it_is_attached() -> None:
    async with flesh() as world:
        one = await world.one()
        other = asyncssh.generate_private_key("ssh-ed25519")
        with pytest.raises(asyncssh.PermissionDenied):
            async with world.ssh(one["id"], client_keys=[other]):
                pass
        await world.post(f"/api/v0/instances/{one['id']}/ssh/", {"ssh_key": other.export_public_key().decode()})
        async with world.ssh(one["id"], client_keys=[other]) as ssh:
            assert (await ssh.run("true")).exit_status == 0


async def test_the_host_key_stays_and_the_port_changes_over_a_reboot() -> None:
    async with flesh() as world:
        one = await world.one()
        instance = world.sim.world.instances[one["id"]]
        async with world.ssh(one["id"]) as ssh:
            before = ssh.get_server_host_key()
        await world.http.put(f"/api/v0/instances/reboot/{one['id']}/", json={})
        await world.until(lambda: instance.starts == 2 and instance.ssh_open)
        assert instance.port != one["ssh_port"]
        async with world.ssh(one["id"]) as ssh:
            assert ssh.get_server_host_key() == before


@pytest.mark.parametrize("ticks", [1, 2])
async def test_an_ssh_port_that_is_given_up_while_it_opens_is_closed(ticks: int) -> None:
    ports = LoopbackPorts()
    ports.renew(1)
    listening = ports.listen(1)
    container: Any = None  # Nobody connects.
    opening = asyncio.create_task(listen(container, asyncssh.generate_private_key("ssh-ed25519"), listening))
    for _ in range(ticks):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.sleep(0)
    assert listening.fileno() == -1
    ports.close()


async def test_a_dead_host_resets_connections_kills_processes_and_agents_and_refuses() -> None:
    async with flesh() as world:
        one, two = await world.loaded(count=2, onstart=AGENT)
        await world.until(lambda: len(world.starter.agents) == 2)
        instance = world.sim.world.instances[one["id"]]
        async with world.ssh(one["id"]) as ssh:
            await ssh.run("setsid sh -c 'echo $$ > /workspace/pid; exec sleep 300' > /dev/null 2>&1 &")
            running = await ssh.create_process("sleep 300")
            pid_file = Path(world.starter.agents[one["id"]][0].env["HOME"], "workspace", "pid")
            await world.until(lambda: _text(pid_file))
            pid = int(_text(pid_file))
            await world.post(f"/sim/hosts/{one['host']}/kill")
            assert (await running.wait()).exit_status is None
            await ssh.wait_closed()
        assert world.starter.agents[one["id"]][0].said == ["kill"]
        await world.until(lambda: not _is_alive(pid))
        with pytest.raises(ConnectionRefusedError):
            async with world.ssh(one["id"]):
                pass
        assert (await world.truth(two["id"]))["agents"] == 1
        assert (await world.truth(one["id"]))["agents"] == 0
        await world.post(f"/sim/hosts/{one['host']}/revive")
        await world.until(lambda: instance.ssh_open)
        await world.until(lambda: len(world.starter.agents[one["id"]]) == 2)
        assert (await world.run(one["id"], "cat /workspace/pid"))[1].strip() == str(pid)


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _exists(path: str) -> bool:
    return Path(path).exists()


def _is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[-1].split()[0]
    except OSError:
        return False


async def test_a_stop_ends_the_agent_politely_and_destroy_removes_the_folder() -> None:
    async with flesh() as world:
        one = await world.one(onstart=AGENT)
        await world.until(lambda: world.starter.agents)
        [agent] = world.starter.agents[one["id"]]
        await world.http.put(f"/api/v0/instances/{one['id']}/", json={"state": "stopped"})
        assert agent.is_running, "the container runs on until it is shown as exited"
        await world.until(lambda: not agent.is_running)
        assert agent.said == ["terminate"]
        home = agent.env["HOME"]
        assert _exists(home)
        await world.http.request("DELETE", f"/api/v0/instances/{one['id']}/", json={})
        assert not _exists(home)


async def test_a_frozen_instance_takes_connections_and_says_nothing_until_it_is_thawed() -> None:
    async with flesh() as world:
        one = await world.one(onstart=AGENT)
        await world.until(lambda: world.starter.agents)
        await world.post(f"/sim/instances/{one['id']}/freeze")
        reader, writer = await asyncio.open_connection("127.0.0.1", one["ssh_port"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.close()
        assert (await world.truth(one["id"]))["serving"] is False
        await world.post(f"/sim/instances/{one['id']}/thaw")
        assert (await world.run(one["id"], "echo awake"))[1] == "awake\n"
        assert world.starter.agents[one["id"]][0].said == ["pause", "resume"]


async def test_what_is_added_to_the_start_script_runs_at_the_next_start() -> None:
    async with flesh() as world:
        one = await world.one(onstart="echo first >> /workspace/log")
        instance = world.sim.world.instances[one["id"]]
        await world.run(one["id"], """echo 'echo second >> /workspace/log' >> "$HOME/onstart.sh" """)
        await world.run(one["id"], "rm /workspace/log")
        await world.http.put(f"/api/v0/instances/reboot/{one['id']}/", json={})
        await world.until(lambda: instance.starts == 2 and instance.ssh_open)
        assert (await world.run(one["id"], "cat /workspace/log"))[1] == "first\nsecond\n"


async def test_a_second_request_for_an_agent_replaces_the_first() -> None:
    async with flesh() as world:
        one = await world.one(onstart=AGENT)
        await world.until(lambda: world.starter.agents)
        assert (await world.run(one["id"], "nohup failoverd agent 'a b' c > /dev/null 2>&1 &"))[0] == 0
        await world.until(lambda: len(world.starter.agents[one["id"]]) == 2)
        first, second = world.starter.agents[one["id"]]
        assert (first.said, second.argv) == (["kill"], ["a b", "c"])
        assert (await world.run(one["id"], "failoverd demo"))[0] == 64


async def test_a_real_agent_process_dies_with_its_host() -> None:
    python = ["python3", "-c", "import os, time; open('agent.pid', 'w').write(str(os.getpid())); time.sleep(300)"]
    async with flesh(ProcessStarter(python)) as world:
        one = await world.one(onstart=AGENT)
        pid_file = Path((await world.run(one["id"], "echo $HOME"))[1].strip(), "agent.pid")
        await world.until(lambda: _text(pid_file))
        pid = int(_text(pid_file))
        assert (await world.truth(one["id"]))["agents"] == 1
        await world.post(f"/sim/hosts/{one['host']}/kill")
        await world.until(lambda: not _is_alive(pid))
    assert not _exists(f"/proc/{pid}"), "reaped, not only killed"


async def test_a_broken_gpu_is_seen_by_nvidia_smi_until_the_next_start() -> None:
    async with flesh() as world:
        one = await world.one()
        instance = world.sim.world.instances[one["id"]]
        await world.post(f"/sim/instances/{one['id']}/break-gpu")
        assert (await world.run(one["id"], "nvidia-smi"))[0] == 15
        await world.http.put(f"/api/v0/instances/reboot/{one['id']}/", json={})
        await world.until(lambda: instance.starts == 2 and instance.ssh_open)
        assert (await world.run(one["id"], "nvidia-smi -L"))[0] == 0


async def test_two_instances_share_one_volume_at_its_mount_path() -> None:
    async with flesh() as world:
        one = await world.one(volume_gb=20)
        host = world.sim.world.instances[one["id"]].host
        ask = next(a for a in world.sim.world.market.asks.values() if a.host is host and a.num_gpus == 1)
        info = {"create_new": False, "volume_id": one["volumes"][0]["id"], "mount_path": "/workspace"}
        body = {"image": "a/b:1", "disk": 10, "runtype": "ssh_direc", "volume_info": info}
        made = (await world.http.put(f"/api/v0/asks/{ask.id}/", json=body)).json()
        two = world.sim.world.instances[made["new_contract"]]
        await world.until(lambda: two.ssh_open)
        await world.run(one["id"], "echo shared > /workspace/data.txt")
        assert await world.run(two.id, "cat /workspace/data.txt") == (0, "shared\n")


async def test_recycling_empties_the_containers_disk() -> None:
    async with flesh() as world:
        one = await world.one()
        await world.run(one["id"], "echo x > /workspace/x")
        instance = world.sim.world.instances[one["id"]]
        await world.http.put(f"/api/v0/instances/recycle/{one['id']}/", json={})
        await world.until(lambda: instance.starts == 2 and instance.ssh_open)
        assert (await world.run(one["id"], "ls /workspace"))[1] == ""


async def _restored(store: SimSnapshots, snapshot: Snapshot, instance: int) -> int:
    endpoint = Endpoint("127.0.0.1", 1)
    for _ in range(1000):
        try:
            return (await store.restore(snapshot, InstanceId(instance), endpoint, "/workspace")).bytes_done
        except NotYet as not_yet:
            await asyncio.sleep(max(not_yet.delay, timedelta(seconds=1)).total_seconds() / SPEED)
    pytest.fail("the restore did not end")


async def test_a_snapshot_carries_the_workspace_to_another_instance() -> None:
    async with flesh() as world:
        store = SimSnapshots(world.http)
        one, two = await world.loaded(count=2, env={"FAILOVERD_MACHINE_ID": "{n}"})
        now = world.clock.now()
        await world.run(one["id"], "mkdir -p /workspace/sub; echo deep > /workspace/sub/a; echo flat > /workspace/b")
        taken = await world.post("/sim/snapshots", {"instance_id": one["id"]})
        await world.until(lambda: world.sim.world.snapshots.snapshots[taken["id"]].verified)
        snapshot = await store.newest(MachineId(1), now)
        assert snapshot is not None
        assert snapshot.id == str(taken["id"])
        assert set(await store.manifest(snapshot)) == {"sub/a", "b"}
        await world.post(f"/sim/hosts/{one['host']}/kill")
        await store.check_download(snapshot, InstanceId(two["id"]), Endpoint("127.0.0.1", 1))
        assert await _restored(store, snapshot, two["id"]) == snapshot.size_bytes
        assert await _restored(store, snapshot, two["id"]) == snapshot.size_bytes
        assert (await world.run(two["id"], "cat /workspace/sub/a /workspace/b"))[1] == "deep\nflat\n"
        assert (await world.http.post("/sim/snapshots", json={"instance_id": one["id"]})).status_code == 409
        assert await store.newest(MachineId(99), now) is None
        with pytest.raises(Refused, match="restore_failed"):
            await store.restore(snapshot, InstanceId(4), Endpoint("127.0.0.1", 1), "/workspace")


async def test_over_http_a_lost_answer_is_a_silence_and_the_effect_is_there() -> None:
    async with flesh() as world:
        url = f"http://127.0.0.1:{await world.sim.listen()}"
        one = await world.one()
        await world.post("/sim/faults", {"endpoint": "change_instance", "kind": "timeout_after", "count": 1})
        async with httpx.AsyncClient(base_url=url, timeout=0.3) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.put(f"/api/v0/instances/{one['id']}/", json={"label": "new"})
            assert (await client.get("/sim/world")).json()["instances"][0]["label"] == "new"


async def test_two_hundred_instances_come_up_and_go_away() -> None:
    async with flesh() as world:
        rows = await world.loaded(count=200, env={"FAILOVERD_MACHINE_ID": "{n}"}, onstart=AGENT)
        assert len({row["ssh_port"] for row in rows}) == 200
        await world.until(lambda: len(world.starter.agents) == 200)
        assert world.starter.agents[rows[41]["id"]][0].argv[:2] == ["--machine", "42"]
    assert not any(agent.is_running for agents in world.starter.agents.values() for agent in agents)


async def test_a_machine_that_never_dies_needs_no_body_and_is_greeted_for_at_one_port() -> None:
    async with flesh() as world:
        rows = await world.loaded(count=3, bodies=False, one_per_host=False, env={MACHINE_ENV: "{n}"})
        assert len({row["ssh_port"] for row in rows}) == 1
        reader, writer = await asyncio.open_connection("127.0.0.1", rows[0]["ssh_port"])
        assert (await reader.readline()).startswith(b"SSH-2.0-")
        writer.close()
        assert all(row["serving"] and row["agents"] == 0 for row in rows)
        shown = (await world.http.get("/sim/snapshots", params={"machine_id": "1"})).json()["snapshots"]
        assert shown[0]["verified"], "it can be restored like any other"
        with pytest.raises(KeyError):
            world.sim.place(rows[0]["id"], "/workspace")


async def test_a_world_in_brief_leaves_out_those_without_a_body_unless_something_is_wrong_with_them() -> None:
    async with flesh() as world:
        one = await world.one()
        still, stopped = await world.loaded(count=2, bodies=False)
        await world.http.put(f"/api/v0/instances/{stopped['id']}/", json={"state": "stopped"})
        brief = (await world.http.get("/sim/world", params={"brief": "1"})).json()
        assert brief["count"] == 3
        assert {row["id"] for row in brief["instances"]} == {one["id"], stopped["id"]}
        assert still["serving"]
