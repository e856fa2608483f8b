"""One call of Vast's API: paced, retried where a repetition does no harm, and never repeated where it could bill twice.

Raises what the domain understands: NotYet for a rate limit, KeyDead for a dead key, Unknown for a lost answer. What
comes back is a reply that was understood: yes, or a no with its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from datetime import timedelta
from functools import lru_cache
from typing import Any

import httpx
import structlog

from adapters.vast.circuit import Circuit
from adapters.vast.pacer import Pacer, Turns
from adapters.vast.replies import KeyDead, Kind, Reply, read_reply, wait_s
from adapters.vast.settings import LIST, VAST_URL, Route, VastSettings
from machines.errors import NotYet, Unknown
from machines.ports import Clock, Random

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LOST = (httpx.RequestError, OSError, TimeoutError)
_LONGEST_JITTER_S = 10.0
_NOT_THERE = (403, 404)
"""A store of objects says either of one that is not there yet."""
_MOST_TEXT = 1 << 20
_WORTH_TELLING_S = 1.0
"""Of waiting for a turn under the provider's rate limits, in scaled seconds."""

log = structlog.get_logger(__name__)


class VastClient(httpx.AsyncClient):
    """Says of each request what became of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.on_answer: Callable[[httpx.Request, httpx.Response | None], object] = lambda request, response: None
        """Hears of every request; without a response its answer was lost, or nobody waited for it."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            response = await super().send(request, **options)
        except BaseException:
            self.on_answer(request, None)
            raise
        self.on_answer(request, response)
        return response


def vast_client(
    api_key: str, base_url: str = VAST_URL, transport: httpx.AsyncBaseTransport | None = None
) -> VastClient:
    """A client that bears the key in a header: keys in URLs end up in logs (facts/vast-api.md, section 1)."""
    return VastClient(
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
        circuit: Circuit | None = None,
    ) -> None:
        """`turns`: where several daemons use one key, what keeps them together under the provider's thresholds. `circuit`:
        where several of these use one key, what they know together of whether it answers."""
        self._client = client
        self._clock = clock
        self._random = random
        self._settings = settings
        self._pacer = Pacer(clock, settings, turns)
        self._circuit = circuit or Circuit(clock)
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
        answer was lost; the same at once, and nothing is sent, while the provider answers nobody.
        """
        try:
            return await self._call(route, number, body, query, sending)
        except Unknown as lost:
            lost.is_outage = self._circuit.is_open()
            raise

    async def _call(
        self,
        route: Route,
        number: int,
        body: Mapping[str, object] | None,
        query: Mapping[str, str] | Callable[[], Mapping[str, str]] | None,
        sending: Callable[[], None],
    ) -> Reply:
        failed = throttled = 0
        waited_s = 0.0
        while True:
            self._circuit.check(route)
            asked = self._clock.monotonic()
            try:
                await self._pacer.turn(route)
            finally:
                waited_s += self._clock.monotonic() - asked
                if waited_s >= _WORTH_TELLING_S and route is not LIST:  # A listing is everybody's.
                    log.info("waited_for_the_provider", call=f"{route.method} {route.path}", seconds=round(waited_s, 1))
                    waited_s = 0.0
            self._may_send()
            with self._circuit.passage(route):
                sending()
                outcome = await self._attempt(route, number, body, query() if callable(query) else query)
                self._learn(route, outcome)
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

    async def fetch(self, url: str) -> str | None:
        """A text that the provider laid down elsewhere, its first MiB; None while it is not there. It goes without our key,
        and is no call of the API. Raise Unknown."""
        request, seconds = httpx.Request("GET", url), self._settings.timeout_s
        try:
            return await self._clock.wait_for(self._read_text(request), self._clock.real(seconds))
        except (*_LOST, httpx.InvalidURL) as error:
            raise Unknown(f"what the provider laid down could not be fetched: {_describe(error)}") from error

    async def _read_text(self, request: httpx.Request) -> str | None:
        response = await httpx.AsyncClient.send(self._client, request, stream=True)
        try:
            if response.status_code in _NOT_THERE:
                return None
            if response.status_code != 200:
                raise Unknown(f"what the provider laid down could not be fetched: HTTP {response.status_code}")
            text = bytearray()
            async for part in response.aiter_bytes():
                text += part
                if len(text) >= _MOST_TEXT:
                    break
            return bytes(text[:_MOST_TEXT]).decode("utf-8", "replace")
        finally:
            await response.aclose()

    async def _attempt(
        self, route: Route, number: int, body: Mapping[str, object] | None, query: Mapping[str, str] | None
    ) -> Reply | Exception:
        seconds = self._settings.timeout_s
        url = _url(self._client.base_url, route.at(number), tuple(query.items()) if query else None)
        request = self._client.request(route.method, url, json=body, timeout=httpx.Timeout(seconds))
        try:
            # httpx bounds each read, not the whole answer, and over an ASGI transport nothing at all.
            response = await self._clock.wait_for(request, self._clock.real(seconds))
        except _LOST as error:
            return error
        return read_reply(response)

    def _learn(self, route: Route, outcome: Reply | Exception) -> None:
        """A rate limit says nothing of whether anything would be answered."""
        if isinstance(outcome, Exception) or outcome.kind is Kind.TRANSIENT:
            self._circuit.failed(route, Unknown(_lost(route, outcome)))
        elif outcome.kind is not Kind.THROTTLED:
            problem = _problem(route, outcome)
            self._circuit.answered() if problem is None else self._circuit.failed(route, problem)

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
        why = _lost(route, outcome)
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


@lru_cache(maxsize=1024)
def _url(base: httpx.URL, path: str, query: tuple[tuple[str, str], ...] | None) -> httpx.URL:
    """The same listings are asked for again and again, and putting a URL together costs more than reading a reply."""
    url = base.copy_with(path=base.path.rstrip("/") + path)
    return url.copy_merge_params(query) if query is not None else url


def _understood(route: Route, reply: Reply) -> Reply:
    problem = _problem(route, reply)
    if problem is not None:
        raise problem
    return reply


def _problem(route: Route, reply: Reply) -> Unknown | None:
    """Why the reply answers nothing; None where it does."""
    if reply.kind is Kind.KEY_DEAD or (reply.kind is Kind.DENIED and not route.denies):
        return KeyDead(f"Vast does not accept our key: {reply}")
    if reply.kind is Kind.BROKEN:
        return Unknown(f"{route.method} {route.path}: no usable answer: {reply}")
    return None


def _lost(route: Route, outcome: Reply | Exception) -> str:
    return f"{route.method} {route.path}: {_describe(outcome)}"


def _describe(outcome: Reply | Exception) -> str:
    return str(outcome) if isinstance(outcome, Reply) else f"{type(outcome).__name__} {outcome}".strip()
