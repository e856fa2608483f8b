"""PagerDuty: Events API v2. What bears the same dedup key is one incident there; its end resolves it."""

from __future__ import annotations

import json

import httpx

from adapters.notify.posting import post
from machines.notifications import Level
from machines.ports import Telling

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"
_SEVERITY = {Level.INFO: "info", Level.WARNING: "warning", Level.CRITICAL: "critical"}
_LONGEST_SUMMARY = 1024
_LONGEST_KEY = 255


class PagerDuty:
    def __init__(self, client: httpx.AsyncClient, routing_key: str, url: str = EVENTS_URL) -> None:
        self._client = client
        self._routing_key = routing_key
        self._url = url

    async def tell(self, telling: Telling) -> None:
        event: dict[str, object] = {
            "routing_key": self._routing_key,
            "event_action": "resolve" if telling.is_over else "trigger",
            "dedup_key": f"{telling.source}/{telling.ref}"[:_LONGEST_KEY],
        }
        if not telling.is_over:
            event["payload"] = {
                "summary": f"{telling.title}: {telling.text}"[:_LONGEST_SUMMARY],
                "source": telling.source,
                "severity": _SEVERITY[telling.level],
                "timestamp": telling.at.isoformat(),
                "component": "failoverd",
                "custom_details": {"incident": telling.ref, "about": list(telling.about), "text": telling.text},
            }
        await post(self._client, self._url, json.dumps(event).encode(), {})
