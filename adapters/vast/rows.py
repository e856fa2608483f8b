"""Vast's rows in our words: an instance as its status fields are to be understood, and an offer.

The provider's numbers may be strings, its addresses end in newlines, and half of its fields may be null
(facts/vast-api.md, 4.4 and section 9).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from machines.model import Endpoint, HostId, Instance, InstanceId, Label, LandlordId, Offer, OfferId, Status

Row = Mapping[str, object]

_STATUS = {
    "": Status.PROVISIONING,
    "created": Status.PROVISIONING,
    "loading": Status.LOADING,
    "running": Status.RUNNING,
    "exited": Status.EXITED,
    "stopped": Status.EXITED,
    "unknown": Status.OFFLINE,
    "offline": Status.OFFLINE,
}


_VOLUME_FLAG = re.compile(r"\s*-v\s+V\.\d+:")


class BadRow(ValueError):
    """A row that lacks what nothing can be understood without."""


def instance_from(row: object) -> Instance:
    """Raise BadRow."""
    if not isinstance(row, dict):
        raise BadRow(f"an instance row is a {type(row).__name__}")
    label = row.get("label")
    onstart = row.get("onstart")
    return Instance(
        id=InstanceId(whole(row, "id")),
        label=Label(label) if isinstance(label, str) and label else None,
        status=_STATUS.get(text(row, "actual_status").casefold(), Status.OTHER),
        wants_running=text(row, "intended_status") == "running",
        holds_gpu=text(row, "cur_state") == "running",
        host=HostId(whole(row, "machine_id")),
        landlord=LandlordId(whole(row, "host_id")),
        ssh=_endpoint(row),
        gpu_name=text(row, "gpu_name"),
        num_gpus=int(number(row, "num_gpus") or 0),
        is_interruptible=row.get("is_bid") is True,
        price_per_hour=number(row, "dph_total") or 0.0,
        detail=text(row, "status_msg"),
        image=text(row, "image_uuid"),
        disk_gb=number(row, "disk_space") or 0.0,
        env=_env(row.get("extra_env")),
        onstart=onstart if isinstance(onstart, str) else None,
        region=region_of(text(row, "geolocation")) or text(row, "country_code").upper() or None,
        runtype=text(row, "image_runtype"),
        ends_at=moment(row, "end_date"),
    )


def offer_from(row: object) -> Offer:
    """Raise BadRow."""
    if not isinstance(row, dict):
        raise BadRow(f"an offer row is a {type(row).__name__}")
    price = number(row, "dph_total")
    if price is None or price <= 0.0:
        raise BadRow("an offer without a price")
    reliabilities = [found for key in ("reliability", "reliability2") if (found := number(row, key)) is not None]
    return Offer(
        id=OfferId(whole(row, "id")),
        host=HostId(whole(row, "machine_id")),
        landlord=LandlordId(whole(row, "host_id")),
        gpu_name=text(row, "gpu_name"),
        num_gpus=whole(row, "num_gpus"),
        price_per_hour=price,
        reliability=min(reliabilities, default=0.0),
        region=region_of(text(row, "geolocation")),
    )


def region_of(geolocation: str) -> str | None:
    """The exact code: "South Korea, KR" and "KR" are KR; nothing is guessed from names."""
    code = geolocation.rpartition(",")[2].strip().upper()
    return code if len(code) == 2 and code.isalpha() else None


def text(row: Row, key: str) -> str:
    value = row.get(key)
    return value.strip() if isinstance(value, str) else ""


def number(row: Row, key: str) -> float | None:
    """None where there is no finite number, also none written as text."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def moment(row: Row, key: str) -> datetime | None:
    """Epoch seconds; None where there are none that a calendar knows."""
    found = number(row, key)
    try:
        return None if not found else datetime.fromtimestamp(found, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def whole(row: Row, key: str) -> int:
    """Raise BadRow where there is no whole number: an id that is guessed is worse than none."""
    found = number(row, key)
    if found is None or found != int(found):
        raise BadRow(f"{key} is {row.get(key)!r}")
    return int(found)


def _endpoint(row: Row) -> Endpoint | None:
    """The direct port while there is one, else the proxy; both can change on every start (facts/vast-api.md, 4.4)."""
    direct = _port(_direct_port(row.get("ports")))
    address = text(row, "public_ipaddr")
    if direct and address:
        return Endpoint(address, direct)
    shift = 1 if "jupyter" in text(row, "image_runtype") else 0
    proxy = _port(row.get("ssh_port"), shift)
    host = text(row, "ssh_host")
    return Endpoint(host, proxy) if proxy and host else None


def _direct_port(ports: object) -> object:
    bindings = ports.get("22/tcp") if isinstance(ports, dict) else None
    first = bindings[0] if isinstance(bindings, list) and bindings else None
    return first.get("HostPort") if isinstance(first, dict) else first


def _port(value: object, shift: int = 0) -> int | None:
    found = number({"port": value}, "port")
    if found is None or not 1 <= found + shift <= 65535:
        return None
    return int(found) + shift


def _env(pairs: object) -> Mapping[str, str]:
    """`extra_env` is a list of pairs; an object is what the documentation once showed."""
    if isinstance(pairs, dict):
        found = {str(key): str(value) for key, value in pairs.items()}
    elif isinstance(pairs, list):
        found = {str(pair[0]): str(pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == 2}
    else:
        return {}
    # A flag that mounts a volume belongs to the rental and its host, not to the customer's world.
    return {key: value for key, value in found.items() if not _VOLUME_FLAG.match(key)}
