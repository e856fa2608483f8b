"""Google's own client, asked in threads: it has no asynchronous one, and its time-outs are no totals.

The client library takes seconds and 140 MiB to import, so that happens here, in a thread, at the first question. Only the
`*_unary` methods are called: the others answer with a future that polls Google's own address, whatever endpoint was named
(facts/real-servers.md, sections 1.1 and 1.2).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

from adapters.gce.settings import GceAccess
from adapters.gce.wire import Json
from machines.errors import Unknown
from machines.ports import Clock

_AT_ONCE = 8
_THREADS = 2 * _AT_ONCE
"""A thread whose caller has given up goes on until its socket does: there is room for as many of these."""
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
Answer = tuple[int, dict[str, Any]]


class GoogleCompute:
    """`ComputeWire` over google-cloud-compute. Nothing is imported before the first question."""

    def __init__(self, access: GceAccess, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._threads = 0
        """Those that have not ended yet."""
        self._opening = Lock()
        self._clients: _Clients | None = None

    async def ask(
        self, what: str, path: Mapping[str, str], query: Mapping[str, str], body: Json | None, timeout_s: float
    ) -> tuple[int, Json]:
        asking = self._in_thread(what, path, query, body, timeout_s)
        try:
            # Twice the socket's time: its time-out counts anew with each byte, ours is the total, with the wait for a slot.
            return await self._clock.wait_for(asking, self._clock.real(2 * timeout_s))
        except TimeoutError:
            raise Unknown(f"{what}: no answer within {2 * timeout_s:.0f} s") from None

    async def _in_thread(self, *asked: Any) -> Answer:
        """Daemonic threads: one that hangs must not keep the process from ending, as those of an executor do."""
        async with self._slots:
            if self._threads >= _THREADS:
                raise Unknown(f"{self._threads} requests to Compute Engine hang")
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[Answer] = loop.create_future()
            self._threads += 1
            Thread(target=self._work, args=(loop, answer, asked), name="compute-engine", daemon=True).start()
            return await answer

    def _work(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Answer], asked: tuple[Any, ...]) -> None:
        found: Answer | Exception
        try:
            found = self._call(*asked)
        except Exception as error:
            found = error
        try:
            loop.call_soon_threadsafe(self._ended, answer, found)
        except RuntimeError:
            return  # The loop is closed: nobody waits any more.

    def _ended(self, answer: asyncio.Future[Answer], found: Answer | Exception) -> None:
        self._threads -= 1
        if answer.done():
            return  # Its caller has given up.
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def close(self) -> None:
        """What is under way ends by itself, or with the process."""

    def _call(
        self, what: str, path: Mapping[str, str], query: Mapping[str, str], body: Json | None, timeout_s: float
    ) -> Answer:
        try:
            with self._opening:
                self._clients = self._clients or _Clients(self._access)
        except Exception as error:
            known = _answer_of(error)
            if known is None:
                raise
            return known
        return self._clients.call(what, {**path, **query}, body, timeout_s)


class _Clients:
    """The library's clients, made in the thread that asks first."""

    def __init__(self, access: GceAccess) -> None:
        from google.api_core.client_options import ClientOptions
        from google.cloud import compute_v1

        self._api = compute_v1
        options = ClientOptions(api_endpoint=access.endpoint) if access.endpoint else ClientOptions()
        credentials = _credentials(access)
        self._instances = compute_v1.InstancesClient(credentials=credentials, client_options=options)
        self._regions = compute_v1.RegionsClient(credentials=credentials, client_options=options)
        self._operations = compute_v1.ZoneOperationsClient(credentials=credentials, client_options=options)

    def call(self, what: str, fields: Mapping[str, str], body: Json | None, timeout_s: float) -> Answer:
        """Raise Unknown where there was no answer."""
        method, request = self._request(what, fields, body)
        try:
            found = method(request=request, timeout=timeout_s, retry=None)
            message = next(iter(found.pages)) if what == "aggregatedList" else found
        except Exception as error:
            known = _answer_of(error)
            if known is None:
                raise
            return known
        return 200, _as_json(message)

    def _request(self, what: str, fields: Mapping[str, str], body: Json | None) -> tuple[Callable[..., Any], Any]:
        api = self._api
        method, kind = {
            "insert": (self._instances.insert_unary, api.InsertInstanceRequest),
            "get": (self._instances.get, api.GetInstanceRequest),
            "aggregatedList": (self._instances.aggregated_list, api.AggregatedListInstancesRequest),
            "start": (self._instances.start_unary, api.StartInstanceRequest),
            "stop": (self._instances.stop_unary, api.StopInstanceRequest),
            "delete": (self._instances.delete_unary, api.DeleteInstanceRequest),
            "setLabels": (self._instances.set_labels_unary, api.SetLabelsInstanceRequest),
            "operation": (self._operations.get, api.GetZoneOperationRequest),
            "region": (self._regions.get, api.GetRegionRequest),
            "wait": (self._operations.wait, api.WaitZoneOperationRequest),
        }[what]
        named = {_SNAKE.get(name, name): value for name, value in fields.items()}
        if what == "insert":
            named["instance_resource"] = api.Instance.from_json(json.dumps(body))
        if what == "setLabels":
            resource = api.InstancesSetLabelsRequest.from_json(json.dumps(body))
            named["instances_set_labels_request_resource"] = resource
        return method, kind(**named)


_SNAKE = {"requestId": "request_id", "pageToken": "page_token", "maxResults": "max_results"}


def _credentials(access: GceAccess) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.oauth2 import service_account

    if access.credentials_file is not None:
        path = str(access.credentials_file)
        return service_account.Credentials.from_service_account_file(path, scopes=[_SCOPE])
    is_local = access.endpoint is not None and urlsplit(access.endpoint).hostname in _LOOPBACK
    return AnonymousCredentials() if is_local else None


def _as_json(message: Any) -> dict[str, Any]:
    """In the names of the API's JSON, with enums by name and 64-bit numbers as texts, as they travel."""
    kind = type(message)
    text = kind.to_json(message, use_integers_for_enums=False, always_print_fields_with_no_presence=False)
    found: dict[str, Any] = json.loads(text)
    return found


def _answer_of(error: Exception) -> Answer | None:
    """The three families of what the client raises: the server's own no as an answer, a lost answer as Unknown (raised), and
    None for what is neither, which is a bug."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.protobuf.json_format import ParseError

    if isinstance(error, RetryError | TransportError | requests.exceptions.RequestException | ParseError):
        raise Unknown(f"no answer of Compute Engine: {error}"[:500]) from error
    if isinstance(error, GoogleAuthError):
        return 401, {"error": {"code": 401, "message": f"no credentials: {error}"[:300]}}
    if isinstance(error, GoogleAPICallError):
        if error.code is None:
            raise Unknown(f"no answer of Compute Engine: {error}"[:500]) from error
        return int(error.code), _body_of(error)
    return None


def _body_of(error: Any) -> dict[str, Any]:
    try:
        body = error.response.json()
    except (AttributeError, ValueError):
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return body
    return {"error": {"code": int(error.code), "message": str(error.message)}}
