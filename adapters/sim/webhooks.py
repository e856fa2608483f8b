"""The provider's webhooks: who wants to hear of what, and the letters that are under way (facts/vast-api.md 12)."""

import hashlib
import hmac
import json
import random  # noqa: TID251 - seeded: a generator of its own, so that letters do not shift the world's other draws
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from adapters.sim.account import USER_ID
from adapters.sim.answers import Answer, failure, success
from adapters.sim.core import Core

MOST = 4
LOOPBACK = ("127.0.0.1", "localhost")
TRIES = 5
AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Hook:
    id: int
    name: str
    url: str
    event_types: tuple[str, ...]
    secret: str
    made_at: float


@dataclass(frozen=True, slots=True)
class Letter:
    """One delivery, signed when it leaves."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    hook_id: int
    attempt: int


class Webhooks:
    """Letters leave after a while; some are late, doubled or lost, as the settings say. Whoever carries them out says
    how that went."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._rng = random.Random(f"{core.seed}/webhooks")
        self._next_id, self._next_event = 50, 0
        self.hooks: dict[int, Hook] = {}
        self._letters: list[Letter] = []

    # -- the API ------------------------------------------------------------------------------------------------

    def show_all(self) -> Answer:
        return success(webhooks=[_row(hook) for hook in self.hooks.values()])

    def create(self, now: datetime, body: Mapping[str, Any]) -> Answer:
        url, events = str(body.get("webhook_url") or ""), body.get("event_types")
        if len(self.hooks) >= MOST:
            return Answer("Maximum of 4 webhooks per user", 400)
        if not _is_public(url) or len(url) > 2048:
            return Answer("webhook_url must be a public https address", 400)
        if not isinstance(events, list) or not events:
            return Answer("event_types is required", 400)
        self._next_id += 1
        hook = Hook(
            self._next_id,
            str(body.get("name") or "")[:120],
            url,
            tuple(str(event) for event in events),
            self._secret(),
            now.timestamp(),
        )
        self.hooks[hook.id] = hook
        row = {**_row(hook), "webhook_secret": hook.secret}
        return success(webhook=row, enabled_notification_preferences=list(hook.event_types))

    def change(self, hook_id: int, body: Mapping[str, Any]) -> Answer:
        hook = self.hooks.get(hook_id)
        if hook is None:
            return failure(404, "not_found", "Webhook not found")
        events = body.get("event_types")
        self.hooks[hook_id] = replace(
            hook,
            url=str(body.get("webhook_url") or hook.url),
            event_types=tuple(str(event) for event in events) if isinstance(events, list) else hook.event_types,
        )
        return success(webhook=_row(self.hooks[hook_id]))

    def delete(self, hook_id: int) -> Answer:
        return success() if self.hooks.pop(hook_id, None) else failure(404, "not_found", "Webhook not found")

    def rotate(self, hook_id: int) -> Answer:
        hook = self.hooks.get(hook_id)
        if hook is None:
            return failure(404, "not_found", "Webhook not found")
        self.hooks[hook_id] = replace(hook, secret=self._secret())
        return success(webhook={**_row(hook), "webhook_secret": self.hooks[hook_id].secret})

    def test(self, now: datetime, hook_id: int) -> Answer:
        hook = self.hooks.get(hook_id)
        if hook is None:
            return failure(404, "not_found", "Webhook not found")
        self._leave(hook, self._event("webhook_test", "Webhook test", now), 1, now)
        return success()

    # -- what the world tells -----------------------------------------------------------------------------------

    def tell(self, now: datetime, kind: str, subject: str) -> None:
        """An event of the account; every webhook that wants this kind gets a letter, at least once or never."""
        settings, event = self._core.settings, None
        for hook in list(self.hooks.values()):
            if f"client:{kind}" not in hook.event_types:
                continue
            event = event or self._event(kind, subject, now)
            if self._rng.random() < settings.webhook_lost_rate:
                continue
            times = 2 if self._rng.random() < settings.webhook_double_rate else 1
            for number in range(times):
                self._plan(hook.id, event, 1, now, settings.webhook_seconds * (number + 1))

    def take_letters(self) -> list[Letter]:
        """Those that leave now."""
        letters, self._letters = self._letters, []
        return letters

    def came_back(self, letter: Letter, status: int | None, now: datetime) -> None:
        """How the delivery went (None: no answer in time): only what a later try may mend is tried again."""
        if status is not None and status not in (408, 429) and status < 500:
            return
        if letter.attempt < TRIES:
            self._plan(letter.hook_id, json.loads(letter.body), letter.attempt + 1, now, AGAIN_SECONDS)

    def _plan(self, hook_id: int, event: Mapping[str, Any], attempt: int, now: datetime, seconds: float) -> None:
        def leave(when: datetime) -> None:
            hook = self.hooks.get(hook_id)
            if hook is not None:
                self._leave(hook, event, attempt, when)

        self._core.after(now, seconds, leave)

    def _leave(self, hook: Hook, event: Mapping[str, Any], attempt: int, now: datetime) -> None:
        body, stamp = json.dumps(event).encode(), str(int(now.timestamp()))
        signature = hmac.new(hook.secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Vast-Event-Id": str(event["event_id"]),
            "X-Vast-Delivery-Attempt": str(attempt),
            "X-Vast-Timestamp": stamp,
            "X-Vast-Signature-256": f"sha256={signature}",
        }
        self._letters.append(Letter(hook.url, headers, body, hook.id, attempt))

    def _event(self, kind: str, subject: str, now: datetime) -> Mapping[str, Any]:
        self._next_event += 1
        return {
            "event_id": f"evt-{self._next_event}-{self._rng.getrandbits(32):08x}",
            "user_id": USER_ID,
            "notif_type": kind,
            "subject": subject,
            "message": f"{subject}.",
            "timestamp": now.timestamp(),
        }

    def _secret(self) -> str:
        return f"whsec_{self._rng.getrandbits(160):040x}"


def _is_public(url: str) -> bool:
    """A world on one machine has no public address: there loopback stands for one."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == "https" or parts.hostname in LOOPBACK)


def _row(hook: Hook) -> dict[str, Any]:
    return {
        "id": hook.id,
        "user_id": USER_ID,
        "name": hook.name,
        "webhook_url": hook.url,
        "event_types": list(hook.event_types),
        "created_at": hook.made_at,
        "updated_at": hook.made_at,
    }
