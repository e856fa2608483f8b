"""`failoverd sim`: a simulated provider as a server of its own, with machines that run from the first moment."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Any, Literal, cast

import httpx

from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import VolumeSharing, WeatherName, WorldSettings
from adapters.system_clock import SystemClock

USAGE = 2
_VOLUME_GB = 20.0
_WORK_FILES = 3
_WORK_BYTES = 4096
LOOPBACK_NAMES = ("127.0.0.1", "localhost")


class InvalidOptions(Exception):
    """The options contradict each other; the text names them and the remedy."""


@dataclass(frozen=True, slots=True)
class SimOptions:
    """The command's options, as they were given."""

    listen: str
    seed: int
    speed: float
    weather: str
    volume_sharing: str
    api_key: str | None
    machines: int
    agents_kafka: str | None
    agents_url: str | None
    agents_secret: str | None
    interval_s: float
    hosts: int = 32
    """Physical boxes on the market; another one is drawn for a machine that fits on none."""
    warm_pool: bool = False
    """Each machine lies on a volume, with a standby beside it where the provider lets two share one."""
    ssh_key: str | None = None
    """A public key that the account has from the first moment: what is rented later accepts it."""


def serve_world(options: SimOptions) -> int:
    """Until SIGTERM or SIGINT; the exit code."""
    try:
        port = _port(options.listen)
        _check_agents(options)
        _check_port(options.listen, port)
    except InvalidOptions as error:
        print(f"error[invalid_options] {error}", file=sys.stderr)
        return USAGE
    asyncio.run(_serve(options, port))
    return 0


def _port(listen: str) -> int:
    host, _, port = listen.rpartition(":")
    if host not in LOOPBACK_NAMES or not port.isdigit() or int(port) > 65535:
        raise InvalidOptions(f"--listen {listen!r}: a world listens on loopback only; give 127.0.0.1:PORT")
    return int(port)


def _check_port(listen: str, port: int) -> None:
    """Before anything is made: the server itself would end the process with a number for an explanation."""
    try:
        socket.create_server((LOOPBACK_NAMES[0], port)).close()
    except OSError as error:
        raise InvalidOptions(f"--listen {listen}: {error.strerror}; remedy: another port, or 0 for any") from error


def _check_agents(options: SimOptions) -> None:
    if options.agents_kafka and options.agents_url:
        raise InvalidOptions("--agents-kafka and --agents-url are both given; leave one out")
    if options.agents_url and not options.agents_secret:
        raise InvalidOptions("--agents-url needs --agents-secret, the daemon's token (var/failoverd/token)")


async def _serve(options: SimOptions, port: int) -> None:
    settings = SimSettings(
        seed=options.seed,
        weather=cast(WeatherName, options.weather),
        volume_sharing=cast(VolumeSharing, options.volume_sharing),
        api_key=options.api_key,
        world=WorldSettings(hosts=options.hosts),
    )
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    world = SimServer(settings, SystemClock(options.speed))
    await world.start()
    try:
        bound = await world.listen(port)
        base = f"http://127.0.0.1:{bound}"
        rows = await load_machines(world, options)
        _greet(base, rows, options)
        await stopping.wait()
    finally:
        await world.stop()


async def load_machines(world: SimServer, options: SimOptions) -> list[dict[str, Any]]:
    """Machines 1 to N, each on a host of its own with some work on it, and with an agent that reports where it may."""
    transport = httpx.ASGITransport(app=world.app)
    rows: list[dict[str, Any]] = []
    headers = {"Authorization": f"Bearer {options.api_key or 'any'}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://world", headers=headers) as http:
        if options.ssh_key is not None:
            (await http.post("/api/v0/ssh/", json={"ssh_key": options.ssh_key})).raise_for_status()
        for number in range(1, options.machines + 1):
            answer = await http.post("/sim/instances", json=machine_body(number, options))
            answer.raise_for_status()
            loaded = answer.json()["instances"]
            await _give_work(world, http, loaded[0]["id"], number)
            rows += loaded
    return rows


async def _give_work(world: SimServer, http: httpx.AsyncClient, instance: int, number: int) -> None:
    """A few files that only this machine has, and a snapshot of them: an empty workspace would prove nothing."""
    place = world.place(instance, "/workspace")
    await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
    for index in range(1, _WORK_FILES + 1):
        content = hashlib.shake_256(f"{number}/{index}".encode()).digest(_WORK_BYTES)
        await asyncio.to_thread((place / f"checkpoint-{index}").write_bytes, content)
    (await http.post("/sim/snapshots", json={"instance_id": instance})).raise_for_status()


def machine_body(number: int, options: SimOptions) -> dict[str, Any]:
    """What the world's loader takes for one machine; the beat token travels in the environment, not on a line."""
    env = {"FAILOVERD_MACHINE_ID": str(number)}
    if options.agents_url and options.agents_secret:
        from daemon.api.auth import beat_token

        env["FAILOVERD_BEAT_TOKEN"] = beat_token(options.agents_secret, number)
    body: dict[str, Any] = {"count": 1, "first": number, "label": f"machine-{number}", "env": env}
    line = _agent_line(options)
    if line is not None:
        body["onstart"] = line
    if options.warm_pool:
        body |= {"volume_gb": _VOLUME_GB, "standby": options.volume_sharing == "allowed"}
    return body


def _agent_line(options: SimOptions) -> str | None:
    kind: Literal["kafka", "url"] = "kafka" if options.agents_kafka else "url"
    target = options.agents_kafka or options.agents_url
    if target is None:
        return None
    speed = "" if options.speed == 1.0 else f" --speed {options.speed:g}"
    return f"failoverd agent --detach --machine-id {{n}} --interval {options.interval_s:g} --{kind} {target}{speed}"


def _greet(base: str, rows: list[dict[str, Any]], options: SimOptions) -> None:
    print(f"provider       {base}   (vast.url; {'this key only' if options.api_key else 'any key'})")
    print(f"control plane  {base}/sim/world   POST {base}/sim/hosts/HOST/kill")
    beats = options.agents_kafka or options.agents_url or "nobody (--agents-kafka or --agents-url starts agents)"
    print(f"heartbeats to  {beats}")
    number = 0
    for row in rows:
        where = f"host {row['host']}  {row['gpu_name']}  ssh {row['ssh_host']}:{row['ssh_port']}"
        volumes = "".join(f"  volume {volume['id']} at {volume['path']}" for volume in row["volumes"])
        if row["intended_status"] == "stopped":
            print(f"  its standby  instance {row['id']}  stopped")
            continue
        number += 1
        print(f"machine {number}  instance {row['id']}  {where}{volumes}")
    sys.stdout.flush()
