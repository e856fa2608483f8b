"""Reads the body of a create call and refuses what the provider refuses (facts/vast-api.md 3)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.sim.answers import Answer, failure
from adapters.sim.instances import Mount

VOLUME_FLAG = re.compile(r"^-v\s+V\.(\d+):(/\S+)$")


@dataclass(frozen=True, slots=True)
class NewVolume:
    ask_id: int
    size_gb: float
    name: str | None
    path: str


@dataclass(frozen=True, slots=True)
class RentalRequest:
    """A create call that is well-formed; whether the offer still stands is another question."""

    image: str
    disk_gb: float
    label: str | None
    env: dict[str, str]
    onstart: str | None
    args: list[str]
    runtype: str
    price: float | None
    starts: bool
    cancels_unavailable: bool
    mounts: tuple[Mount, ...]
    new_volume: NewVolume | None


def read_request(body: Mapping[str, Any]) -> RentalRequest | Answer:
    """Return the request, or the answer that refuses it. A null means absent, as everywhere in this API."""
    given = {key: value for key, value in body.items() if value is not None}
    price, starts = given.get("price"), given.get("target_state", "running") != "stopped"
    refusal = _refuse(given, price)
    if refusal is not None:
        return refusal
    env, volume_info = _env(given.get("env")), given.get("volume_info") or {}
    mounts = [Mount(int(found[1]), found[2]) for found in map(VOLUME_FLAG.match, env) if found]
    new_volume = None
    if volume_info.get("create_new"):
        path, size = volume_info.get("mount_path", "/data"), float(volume_info.get("size") or 15)
        new_volume = NewVolume(int(volume_info["volume_id"]), size, volume_info.get("name"), path)
    elif volume_info:
        mounts.append(Mount(int(volume_info["volume_id"]), volume_info.get("mount_path", "/data")))
    return RentalRequest(
        image=str(given.get("image", "template/image:latest")),
        disk_gb=float(given.get("disk", 8)),
        label=given.get("label"),
        env=env,
        onstart=given.get("onstart"),
        args=list(given.get("args", [])),
        runtype=str(given.get("runtype", "ssh")),
        price=None if price is None else float(price),
        starts=starts,
        cancels_unavailable=bool(given.get("cancel_unavail", price is None and starts)),
        mounts=tuple(mounts),
        new_volume=new_volume,
    )


def _env(env: Any) -> dict[str, str]:
    """A string of docker flags is not applied (3), so only an object counts."""
    return {str(key): str(value) for key, value in env.items()} if isinstance(env, Mapping) else {}


def _refuse(given: Mapping[str, Any], price: Any) -> Answer | None:
    if not given.get("image") and not given.get("template_hash_id"):
        return failure(400, "invalid_args", "error 400/3467: Invalid args: 'image' is required without a template")
    if not _is_number(given.get("disk", 8)) or float(given.get("disk", 8)) < 8:
        return failure(400, "invalid_args", "error 400/3467: Invalid args: 'disk' must be at least 8")
    if len(str(given.get("label", ""))) > 256:
        return failure(400, "invalid_args", "label_too_long")
    if price is not None and (not _is_number(price) or not 0.001 <= float(price) <= 128):
        return failure(400, "invalid_price", "error 400/3468: Invalid price: must be between 0.001 and 128")
    texts = [str(part) for pair in _env(given.get("env")).items() for part in pair]
    if sum(map(len, texts)) > 32768 or any(len(text) > 256 for text in texts):
        return failure(400, "invalid_args", "error 400/3467: Invalid args: 'env' is too long")
    if len(str(given.get("onstart", ""))) > 4096:
        return failure(400, "invalid_args", "error 400/3467: Invalid args: 'onstart' is longer than 4096")
    volume_info = given.get("volume_info")
    if volume_info is not None and not (isinstance(volume_info, Mapping) and _is_number(volume_info.get("volume_id"))):
        return failure(400, "invalid_args", "error 400/3467: Invalid args: 'volume_info' needs a volume_id")
    return None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
