"""One call of Vast's API: paced, retried where a repetition does no harm, and never repeated where it could bill twice.

Raises what the domain understands: NotYet for a rate limit, KeyDead for a dead key, Unknown for a lost answer. What
comes back is a reply that was understood: yes, or a no with its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from datetime import timedelta

import httpx
import structlog

from adapters.vast.pacer import Pacer, Turns
from adapters.vast.replies import KeyDead, Kind, Reply, read_reply, wait_s
from adapters.vast.settings import LIST, VAST_URL, Route, VastSettings
from machines.errors import NotYet, Unknown
from machines.ports import Clock, Random

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LOST = (httpx.RequestError, OSError, TimeoutError)
_LONGEST_JITTER_S = 10.0
_WORTH_TELLING_S = 1.0
"""Of waiting for a turn under the provider's rate limits, in scaled seconds."""

log = structlog.get_logger(__name__)


def vast_client(
    api_key: str, base_url: str = VAST_URL, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """A client that bears the key in a header: keys in URLs end up in logs (facts/vast-api.md, section 1)."""
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/"),
        headers={"Authorization": f"Bearer {api_key}", "Accept": "application/json"},
        transport=transport,
    )


class VastApi:
    """Sends calls and sorts out what came back."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        clock: Clock,
        random: Random,
        settings: VastSettings,
        turns: Turns | None = None,
    ) -> None:
        """`turns`: where several daemons use one key, what keeps them together under the provider's thresholds."""
        self._client = client
        self._clock = clock
        self._random = random
        self._settings = settings
        self._pacer = Pacer(clock, settings, turns)
        self._may_send: Callable[[], None] = lambda: None

    def on_behalf_of(self, may_send: Callable[[], None]) -> VastApi:
        """The same API with the same lanes, whose every call first asks `may_send` when it leaves; what that raises ends
        the call unsent."""
        view = copy(self)
        view._may_send = may_send
        return view

    async def call(
        self,
        route: Route,
        number: int = 0,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        sending: Callable[[], None] = lambda: None,
    ) -> Reply:
        """One operation, with as many calls as it needs and may have; `sending` is told before each of them leaves, and
        a query that is a function is asked after that.

        Raise NotYet where nothing happened (throttled, or a create that never left), KeyDead, and Unknown where the
        answer was lost.
        """
        failed = throttled = 0
        waited_s = 0.0
        while True:
            asked = self._clock.monotonic()
            try:
                await self._pacer.turn(route)
            finally:
                waited_s += self._clock.monotonic() - asked
                if waited_s >= _WORTH_TELLING_S and route is not LIST:  # A listing is everybody's.
                    log.info("waited_for_the_provider", call=f"{route.method} {route.path}", seconds=round(waited_s, 1))
                    waited_s = 0.0
            self._may_send()
            sending()
            outcome = await self._attempt(route, number, body, query() if callable(query) else query)
            if isinstance(outcome, Reply) and outcome.kind is Kind.THROTTLED:
                throttled += 1
                await self._pause_after_throttle(route, outcome, throttled)
            elif isinstance(outcome, Reply) and outcome.kind is not Kind.TRANSIENT:
                return _understood(route, outcome)
            else:
                failed += 1
                self._give_up_or_pause(route, outcome, failed)

    def wait_s(self, route: Route) -> float:
        """How long a call of the route would wait for its turn now, in scaled seconds."""
        return self._pacer.wait_s(route)

    async def _attempt(
        self, route: Route, number: int, body: Mapping[str, object] | None, query: Mapping[str, str] | None
    ) -> Reply | Exception:
        seconds = self._settings.timeout_s
        request = self._client.request(
            route.method, route.at(number), json=body, params=query, timeout=httpx.Timeout(seconds)
        )
        try:
            # httpx bounds each read, not the whole answer, and over an ASGI transport nothing at all.
            response = await self._clock.wait_for(request, self._clock.real(seconds))
        except _LOST as error:
            return error
        return read_reply(response)

    async def _pause_after_throttle(self, route: Route, reply: Reply, times: int) -> None:
        """Nothing happened, so any method may be called again; but all callers of the route wait. A little longer than
        asked, for another daemon on the same key was told the same and would meet us there again."""
        asked = wait_s(reply, self._clock.now())
        if asked is None:
            wait = self._backoff(times)
        else:
            wait = asked + min(asked * times / 2, _LONGEST_JITTER_S) * self._random.jitter()
        await self._pacer.hold_all(route, wait)
        if times >= self._settings.throttled_tries:
            raise NotYet(f"rate limited on {route.method} {route.path}: {reply}", timedelta(seconds=max(wait, 1.0)))

    def _give_up_or_pause(self, route: Route, outcome: Reply | Exception, times: int) -> None:
        was_unsent = isinstance(outcome, _UNSENT)
        why = f"{route.method} {route.path}: {_describe(outcome)}"
        cause = outcome if isinstance(outcome, Exception) else None
        if not (was_unsent or route.is_repeatable):
            raise Unknown(why) from cause
        if times >= self._settings.tries:
            if was_unsent and not route.is_repeatable:
                raise NotYet(f"{why}; nothing was sent", timedelta(seconds=self._backoff(times))) from cause
            raise Unknown(why) from cause
        self._pacer.hold(route, self._backoff(times))

    def _backoff(self, times: int) -> float:
        return float(self._settings.backoff_s * 2 ** (times - 1) * (0.5 + self._random.jitter()))


def _understood(route: Route, reply: Reply) -> Reply:
    if reply.kind is Kind.KEY_DEAD:
        raise KeyDead(f"Vast does not accept our key: {reply}")
    if reply.kind is Kind.BROKEN:
        raise Unknown(f"{route.method} {route.path}: no usable answer: {reply}")
    return reply


def _describe(outcome: Reply | Exception) -> str:
    return str(outcome) if isinstance(outcome, Reply) else f"{type(outcome).__name__} {outcome}".strip()
