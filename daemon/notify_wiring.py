"""From the settings of `notify:` to channels and to the sign of life; at the start, and again at a reload."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import httpx

from adapters.notify import AppriseChannel, PagerDuty, Ping, Webhook, wrong_url
from adapters.notify.pagerduty import EVENTS_URL
from adapters.sql.executor import Store
from daemon.api.services import Health
from daemon.life_sign import LifeSign
from daemon.notifying import Channel, Notifying
from daemon.setting_notify import Channel as ChannelSettings
from daemon.setting_notify import Notify
from machines.notifications import Grouping, Level
from machines.ports import Clock, Notifier

_TIMEOUT_S = 10.0


class Outlets:
    """Both, with the HTTP client that they share: one of its own, which bears nobody's key."""

    def __init__(
        self,
        notify: Notify,
        store: Store,
        clock: Clock,
        source: str,
        health: Health,
        wall: Callable[[], datetime],
    ) -> None:
        """`source`: the deployment's id. `wall`: the time of day, which is never scaled."""
        self.http = httpx.AsyncClient(timeout=_TIMEOUT_S)
        self._wall = wall
        self.notifying = Notifying(store, clock, source, self._channels(notify), _grouping(notify))
        self.life_sign = LifeSign(self._ping(notify), health, clock)

    def use(self, notify: Notify) -> None:
        """From now on these settings."""
        self.notifying.use(self._channels(notify), _grouping(notify))
        self.life_sign.ping = self._ping(notify)

    def _channels(self, notify: Notify) -> list[Channel]:
        return [
            Channel(one.name, one.kind, Level[one.level.upper()], _notifier(one, self.http, self._wall))
            for one in notify.channels
        ]

    def _ping(self, notify: Notify) -> Ping | None:
        return Ping(self.http, notify.heartbeat_url.get_secret_value()) if notify.heartbeat_url else None


def _grouping(notify: Notify) -> Grouping:
    return Grouping(notify.storm_count, timedelta(seconds=notify.storm_window_s))


def _notifier(one: ChannelSettings, http: httpx.AsyncClient, wall: Callable[[], datetime]) -> Notifier:
    url = one.url.get_secret_value() if one.url else ""
    match one.kind:
        case "webhook" if one.secret is not None:
            return Webhook(http, url, one.secret.get_secret_value(), wall)
        case "pagerduty" if one.routing_key is not None:
            return PagerDuty(http, one.routing_key.get_secret_value(), url or EVENTS_URL)
        case _:
            return AppriseChannel(url)


def unusable(notify: Notify) -> list[tuple[int, str, str]]:
    """Each channel that only Apprise can judge, and does not know, by its number: what is wrong with its URL, and a remedy."""
    found_wrong = []
    for number, one in enumerate(notify.channels):
        found = wrong_url(one.url.get_secret_value()) if one.kind == "apprise" and one.url else None
        if found is not None:
            remedy = "see https://appriseit.com/services/ for how the service's URL is written"
            found_wrong.append((number, found, remedy))
    return found_wrong
