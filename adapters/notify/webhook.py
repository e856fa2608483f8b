"""Webhook: a signed POST of JSON, as standardwebhooks.com has it, so that its libraries verify it.

The signature is HMAC-SHA256 over `id.timestamp.body`. A secret that begins with `whsec_` is base64 behind it; any other one
is taken as it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime

import httpx

from adapters.notify.posting import post
from machines.ports import Telling


class Webhook:
    def __init__(self, client: httpx.AsyncClient, url: str, secret: str, now: Callable[[], datetime]) -> None:
        """`now`: the real time of day, by which whoever verifies the signature knows a fresh one."""
        self._client = client
        self._url = url
        self._key = _key(secret)
        self._now = now

    async def tell(self, telling: Telling) -> None:
        body = json.dumps(_body(telling)).encode()
        stamp = str(int(self._now().timestamp()))
        signed = f"{telling.id}.{stamp}.".encode() + body
        digest = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest()).decode()
        headers = {"webhook-id": telling.id, "webhook-timestamp": stamp, "webhook-signature": f"v1,{digest}"}
        await post(self._client, self._url, body, headers)


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def _body(telling: Telling) -> dict[str, object]:
    return {
        "type": "incident.resolved" if telling.is_over else "incident.opened",
        "timestamp": telling.at.isoformat(),
        "data": {
            "incident": telling.ref,
            "level": telling.level.name.lower(),
            "title": telling.title,
            "text": telling.text,
            "about": list(telling.about),
            "source": telling.source,
        },
    }
