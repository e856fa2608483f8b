"""Vast's webhooks: who sent this letter, what it is about, and the webhook itself (facts/vast-api.md, section 12).

A webhook is a hint that triggers a look; polling stays the truth. The instance stands in the subject alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from adapters.vast.client import VastApi
from adapters.vast.rental import refusal
from adapters.vast.replies import Kind, Reply
from adapters.vast.settings import ADD_WEBHOOK, ROTATE_WEBHOOK, WEBHOOKS
from machines.errors import Unknown
from machines.model import InstanceId

WINDOW_S = 300.0
"""An older letter is no news, and one from our future was not signed by who has a clock."""
EVENTS = ("outbid", "instance_stopped", "low_credit", "near_end_date", "upcoming_downtime")
"""What we ask to hear of: of these the exact names are known."""
_ENDS = frozenset({"outbid", "instance_stopped"})
_END_WORDS = ("offline", "deleted", "error")
"""Of further kinds the exact names are not known."""
_INSTANCE = re.compile(r"#(\d{1,18})\b")


class NotGenuine(Exception):
    """The letter is not one that the provider has just signed."""


class About(Enum):
    """What a letter gives reason to look at."""

    INSTANCE = "instance"
    CREDIT = "credit"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Letter:
    event_id: str
    kind: str
    subject: str
    about: About
    instance: InstanceId | None


def read_letter(headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: datetime) -> Letter:
    """Raise NotGenuine, or ValueError where a genuine one says nothing that can be understood."""
    stamp, signature = headers.get("x-vast-timestamp", ""), headers.get("x-vast-signature-256", "")
    if not re.fullmatch(r"\d{1,12}", stamp, re.ASCII):
        raise NotGenuine("it bears no X-Vast-Timestamp in whole seconds")
    signed = f"{stamp}.".encode() + body
    digests = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets if secret]
    if not any(hmac.compare_digest(f"sha256={digest}".encode(), signature.encode()) for digest in digests):
        raise NotGenuine("its signature is not that of the raw body under our secret")
    if abs(now.timestamp() - int(stamp)) > WINDOW_S:
        raise NotGenuine(f"it was signed more than {WINDOW_S:.0f} s ago, or ahead of our clock")
    return _understood(json.loads(body))


def _understood(event: object) -> Letter:
    if not isinstance(event, dict):
        raise ValueError("the body is no object")
    number, kind = event.get("event_id"), event.get("notif_type")
    if not isinstance(number, str | int) or isinstance(number, bool) or not str(number) or len(str(number)) > 200:
        raise ValueError("it has no event_id")
    if not isinstance(kind, str):
        raise ValueError("it has no notif_type")
    subject = event.get("subject")
    subject = subject[:300] if isinstance(subject, str) else ""
    kind = kind.removeprefix("client:")[:100]
    found = _INSTANCE.search(subject)
    return Letter(str(number), kind, subject, _about(kind), InstanceId(int(found[1])) if found else None)


def _about(kind: str) -> About:
    if kind in _ENDS or any(word in kind for word in _END_WORDS):
        return About.INSTANCE
    return About.CREDIT if kind == "low_credit" else About.NOTHING


async def ensure_webhook(api: VastApi, url: str, name: str, secret: str | None) -> str:
    """The secret of the account's webhook to this address, which is made where there is none. The provider shows a secret
    once, so one that we do not know is changed. Raise StepError; Refused where the account has four already."""
    reply = await api.call(WEBHOOKS)
    rows = reply.body if isinstance(reply.body, list) else reply.fields.get("webhooks")
    if reply.kind is not Kind.OK or not isinstance(rows, list):
        raise Unknown(f"the account's webhooks were not shown: {reply}")
    own = next((row for row in rows if isinstance(row, dict) and row.get("webhook_url") == url), None)
    if own is not None and secret:
        return secret
    number = own.get("id") if own is not None else None
    if isinstance(number, int) and not isinstance(number, bool):
        return _secret_in(await api.call(ROTATE_WEBHOOK, number, {}))
    body = {"webhook_url": url, "event_types": [f"client:{event}" for event in EVENTS], "name": name[:120]}
    return _secret_in(await api.call(ADD_WEBHOOK, body=body))


def _secret_in(reply: Reply) -> str:
    if reply.kind is not Kind.OK:
        raise refusal(reply)
    row = reply.fields.get("webhook")
    found = (row if isinstance(row, Mapping) else reply.fields).get("webhook_secret")
    if not isinstance(found, str) or not found:
        raise Unknown(f"the webhook's secret was not shown: {reply}")
    return found
