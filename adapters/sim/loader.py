"""The quick loader: a fleet that runs at once, so that a demo or a load test does not wait for boots and limits."""

from datetime import datetime
from typing import Any

from adapters.sim.form import ControlError, Form
from adapters.sim.hosts import GPU_KINDS, GpuKind
from adapters.sim.instances import Instance
from adapters.sim.offers import Ask
from adapters.sim.snapshots import MACHINE_ENV
from adapters.sim.world import World

MOST = 5000


def load(world: World, form: Form, now: datetime) -> list[Instance]:
    """Make `count` running instances. `{n}` in label, env and onstart becomes the number, from `first` (1) on.

    With `volume_gb` each has a volume of its own at `mount_path`; with `standby` also a second, stopped rental on the
    same host that shares it, which follows it in the result. Without `bodies` nobody lays out folders or starts anything
    for them, which is enough for a machine that never dies. `verified` takes only hosts that a search shows by default. With a `bid` ($/h) each is
    interruptible.
    """
    count, first = form.get("count", int, 1), form.get("first", int, 1)
    label, onstart = form.get("label", str, None), form.get("onstart", str, None)
    env, image = form.get("env", dict, {}), form.get("image", str, "pytorch/pytorch:latest")
    gpu_name = form.get("gpu_name", str, None)
    one_per_host, disk = form.get("one_per_host", bool, True), form.get("disk", float, 32.0)
    volume_gb, mount_path = form.get("volume_gb", float, None), form.get("mount_path", str, "/workspace")
    standby, has_body = form.get("standby", bool, False), form.get("bodies", bool, True)
    verified, bid = form.get("verified", bool, False), form.get("bid", float, None)
    form.end()
    if standby and volume_gb is None:
        raise ControlError(400, "invalid_field", "'standby' needs 'volume_gb': it has no data of its own", "standby")
    if not 1 <= count <= MOST:
        raise ControlError(400, "invalid_field", f"'count' must be 1 to {MOST}", "count")
    kind = _kind(world, gpu_name)
    loaded = []
    for number in range(first, first + count):
        # Where a volume is to be shared or followed, the host needs a GPU to spare, and a market that may take one.
        ask = _ask(world, kind, one_per_host=one_per_host, idle=1 if volume_gb is None else 3, verified=verified)
        body: dict[str, Any] = {
            "image": image,
            "disk": disk,
            "label": _numbered(label, number),
            "onstart": _numbered(onstart, number),
            "env": {_numbered(key, number): _numbered(str(value), number) for key, value in env.items()},
            "runtype": "ssh_direc ssh_proxy",
        }
        if bid is not None:
            body["price"] = bid
        if volume_gb is not None:
            host = ask.host
            body["volume_info"] = {
                "create_new": True,
                "volume_id": host.volume_ask_id,
                "size": volume_gb,
                "mount_path": mount_path,
            }
        instance = world.rentals.load(now, ask, body, has_body=has_body)
        if MACHINE_ENV in instance.env:
            world.snapshots.take(instance, now)
        loaded.append(instance)
        if standby:
            loaded.append(world.rentals.load_standby(now, instance, ask))
    return loaded


def _kind(world: World, gpu_name: str | None) -> GpuKind | None:
    if gpu_name is None:
        return None
    kind = world.market.land.kind_named(gpu_name)
    if kind is None:
        names = ", ".join(sorted({each.name for each in GPU_KINDS}))
        raise ControlError(400, "invalid_field", f"'gpu_name' must be one of {names}", "gpu_name")
    return kind


def _ask(world: World, kind: GpuKind | None, *, one_per_host: bool, idle: int, verified: bool) -> Ask:
    """The first offer that fits; a new host is drawn where none does."""
    rented = {instance.host.machine_id for instance in world.instances.values()} if one_per_host else set()
    for ask in world.market.asks.values():
        host = ask.host
        fits = ask.num_gpus == 1 and host.alive and host.idle() >= idle and host.machine_id not in rented
        fits = fits and (host.verified or not verified)
        if fits and (kind is None or host.kind.name == kind.name):
            return ask
    host = world.market.draw_host(kind or GPU_KINDS[0], size=4)
    while verified and not host.verified:
        host = world.market.draw_host(kind or GPU_KINDS[0], size=4)
    return next(ask for ask in world.market.asks.values() if ask.host is host and ask.num_gpus == 1)


def _numbered(text: str | None, number: int) -> Any:
    return None if text is None else text.replace("{n}", str(number))
