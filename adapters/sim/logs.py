"""What a container and its host's daemon would have logged, and the address at which the provider lays it down for a while.

The request is answered with an address before anything is there: the host brings its log later, and one that is dead never does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from adapters.sim.answers import Answer, failure, success
from adapters.sim.instances import Instance

PATH = "/logs"
_BROUGHT_AFTER = timedelta(seconds=1)
_USUAL_TAIL = 1000


class LogShelf:
    """Logs that were asked for, by the number in their address."""

    def __init__(self) -> None:
        self._asked: list[tuple[Instance, bool, int, datetime]] = []

    def request(self, instance: Instance, body: Mapping[str, Any], origin: str, now: datetime) -> Answer:
        """`PUT /instances/request_logs/{id}/`."""
        try:
            tail = int(body.get("tail") or _USUAL_TAIL)
        except (TypeError, ValueError):
            return failure(400, "invalid_args", "tail must be a number")
        self._asked.append((instance, body.get("daemon_logs") == "true", tail, now))
        url = f"{origin}{PATH}/{len(self._asked)}"
        return success(result_url=url, msg="The logs will be at result_url shortly")

    def show(self, number: int, now: datetime) -> Answer:
        """Readable by whoever has the address, once it is there."""
        if not 1 <= number <= len(self._asked):
            return Answer("AccessDenied", 403)
        instance, is_daemon, tail, asked_at = self._asked[number - 1]
        if not instance.host.alive or now < asked_at + _BROUGHT_AFTER:
            return Answer("AccessDenied", 403)
        lines = _of_daemon(instance) if is_daemon else _of_container(instance)
        return Answer("".join(f"{line}\n" for line in lines[-tail:]))


def _of_daemon(instance: Instance) -> list[str]:
    told = [f"{_at(instance.created_at)} Creating container C.{instance.id} from {instance.image}"]
    return [*told, f"status: {instance.status_msg}"] if instance.status_msg else told


def _of_container(instance: Instance) -> list[str]:
    if not instance.has_booted:
        return []
    told = [f"{_at(instance.started_at)} start {instance.starts} of {instance.image}"]
    if instance.onstart:
        told.append(f"onstart: {instance.onstart}")
    if instance.is_crashed:
        told.append("the main process ended with status 1")
    return told


def _at(when: datetime | None) -> str:
    return "" if when is None else when.isoformat(timespec="seconds")
