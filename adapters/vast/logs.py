"""What a rental's container has printed, or its host's daemon said of it: asked for, and fetched from where it is laid down
(facts/vast-api.md, section 8; the official client looks 30 times, at 0.3 s)."""

from __future__ import annotations

from datetime import timedelta

from adapters.vast.client import VastApi
from adapters.vast.rental import refusal
from adapters.vast.replies import Kind
from adapters.vast.settings import LOGS
from machines.errors import NotYet, Unknown
from machines.model import InstanceId
from machines.ports import Clock

_LOOKS = 20
_LOOK_EVERY_S = 0.5
_ASK_AGAIN = timedelta(seconds=30)


async def read_logs(api: VastApi, clock: Clock, instance: InstanceId, lines: int, of_daemon: bool) -> str:
    """The last lines. Raise NotYet where the host has not brought them, Refused, Unknown."""
    reply = await api.call(LOGS, instance, {"tail": str(lines), **({"daemon_logs": "true"} if of_daemon else {})})
    if reply.kind is not Kind.OK:
        raise refusal(reply)
    url = reply.fields.get("result_url")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise Unknown(f"the provider's answer names no address of the logs: {reply}")
    for _ in range(_LOOKS):
        text = await api.fetch(url)
        if text is not None:
            return text
        await clock.sleep(_LOOK_EVERY_S)
    raise NotYet(f"the host of instance {instance} has not brought its logs; a dead one never does", _ASK_AGAIN)
