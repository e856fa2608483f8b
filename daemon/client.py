"""The thin HTTP client behind the commands that people type: no provider, no database, only the daemon's own API."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

DEFAULT_URL = "http://127.0.0.1:8787"
DEFAULT_TOKEN_FILE = Path("var/failoverd/token")
URL_ENV = "FAILOVERD_API_URL"
TOKEN_ENV = "FAILOVERD_TOKEN"
AGENT = "failoverd-cli"
"""The door that the daemon notes with each change."""
REASON_HEADER = "Failoverd-Reason"
API = "/api/v1"
_PAGE = 500
_SILENT_S = 45.0
"""A stream that says nothing for so long is cut: the daemon lets no more than 15 s pass without a word."""

EXIT_USAGE = 2
EXIT_PENDING = 3
EXIT_NOT_FOUND = 4
EXIT_REFUSED = 5
EXIT_FAILED = 6
EXIT_AUTH = 7
EXIT_UNREACHABLE = 8


class ClientError(Exception):
    """The daemon said no, or nothing; the text is for people and `exit_code` for scripts (facts/ux.md, section 3)."""

    def __init__(
        self, exit_code: int, code: str, detail: str, remedy: str = "", extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.exit_code, self.code, self.detail, self.remedy = exit_code, code, detail, remedy
        self.extra = dict(extra or {})


@dataclass(frozen=True, slots=True)
class Door:
    """Where the daemon listens, and the token that opens it."""

    url: str
    token: str | None = field(repr=False)
    token_from: str = "nowhere"


def door(url: str | None, token_file: Path | None, env: Mapping[str, str] = os.environ) -> Door:
    """A flag goes before the environment, the environment before the file in the working directory.

    Raise ClientError where a file that was named cannot be read, or where the token could not be sent.
    """
    address = (url or env.get(URL_ENV) or DEFAULT_URL).rstrip("/")
    if not address.startswith(("http://", "https://")):
        remedy = f"give --url http://host:port, or set {URL_ENV}"
        raise ClientError(2, "invalid_url", f"{address!r} is no address of a daemon", remedy)
    if token_file is None and env.get(TOKEN_ENV):
        return Door(address, _token(env[TOKEN_ENV], TOKEN_ENV), TOKEN_ENV)
    path = token_file or DEFAULT_TOKEN_FILE
    try:
        return Door(address, _token(path.read_text(encoding="utf-8"), str(path)), str(path))
    except (OSError, UnicodeDecodeError) as error:
        if token_file is None:
            return Door(address, None)
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ClientError(2, "token_unreadable", f"{path}: {why}", "name a readable file with --token-file") from error


def _token(text: str, where: str) -> str:
    """Without what surrounds it. Raise ClientError where no header can hold it; the text itself is never shown."""
    token = text.strip()
    if not all("!" <= sign <= "~" for sign in token):
        why = f"what {where} holds is no token: it has a space, a line break, or a sign beyond ASCII in it"
        raise ClientError(EXIT_USAGE, "invalid_token", why, f"put the token alone there, as one word ({where})")
    return token


class ApiClient:
    """Calls the daemon and turns every refusal into a ClientError."""

    def __init__(self, door: Door, transport: httpx.BaseTransport | None = None, timeout_s: float = 30.0) -> None:
        headers = {"Accept": "application/json", "Accept-Language": "en", "User-Agent": AGENT}
        if door.token:
            headers["Authorization"] = f"Bearer {door.token}"
        self._door = door
        self._http = httpx.Client(base_url=door.url, headers=headers, timeout=timeout_s, transport=transport)

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The decoded body. Raise ClientError."""
        return self._call("GET", path, query=query)

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | Mapping[str, bytes] | None = None,
    ) -> Any:
        """The decoded body. Raise ClientError."""
        return self._call("POST", path, body, query, headers)

    def put(self, path: str, body: Mapping[str, Any], reason: str | None = None) -> Any:
        """The decoded body. Raise ClientError."""
        return self._call("PUT", path, body, headers=because(reason))

    def delete(self, path: str, reason: str | None = None) -> Any:
        """The decoded body. Raise ClientError."""
        return self._call("DELETE", path, headers=because(reason))

    def outside(self, path: str) -> httpx.Response:
        """What stands beside the API (/livez, /openapi.json, ...), whatever its status. Raise ClientError."""
        return self._send("GET", path)

    @contextmanager
    def lines(
        self, path: str, query: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[str]]:
        """The lines of an answer as they come. Raise ClientError, also where the connection breaks off."""
        try:
            with self._http.stream("GET", API + path, params=query, headers=headers, timeout=_SILENT_S) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refused(answer, self._door)
                yield answer.iter_lines()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def machines(self, state: str | None = None) -> list[dict[str, Any]]:
        """The whole fleet, or those in one state, page by page."""
        return list(self.pages("/machines", "machines", filters={} if state is None else {"state": state}))

    def machine(self, name: str) -> dict[str, Any]:
        """By id, or by name. Raise ClientError where there is none, or more than one of that name."""
        if name.isascii() and name.isdigit():
            return dict(self.get(f"/machines/{name}"))
        found = [row for row in self.machines() if row.get("name") == name]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(str(row["id"]) for row in found)
            raise ClientError(2, "ambiguous_name", f"several machines are called {name!r}: {ids}", "give the id")
        raise ClientError(EXIT_NOT_FOUND, "unknown_machine", f"no machine is called {name!r}", "see: failoverd status")

    def failovers(self, machine: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The newest first."""
        query: dict[str, Any] = {"limit": limit}
        if machine is not None:
            query["machine_id"] = machine
        return list(_rows(self.get("/failovers", query), "failovers"))

    def all_failovers(self, machine: int | None = None, after: str | None = None) -> Iterator[dict[str, Any]]:
        """The newest first, page by page as they are taken; those that are older than `after`."""
        named = {"machine_id": machine, "cursor": after}
        filters = {name: value for name, value in named.items() if value is not None}
        return self.pages("/failovers", "failovers", 200, filters)

    def failover(self, failover: str) -> dict[str, Any]:
        return dict(self.get(f"/failovers/{failover}"))

    def alerts(self) -> list[dict[str, Any]]:
        """What a person should know now, the oldest first."""
        return list(_rows(self.get("/alerts"), "alerts"))

    def not_ready(self) -> dict[str, dict[str, Any]]:
        """The daemon's checks of itself that fail now, by name."""
        answer = self._send("GET", "/readyz", query={"verbose": "true"})
        try:
            checks = dict(answer.json()["checks"])
        except (ValueError, KeyError, TypeError):
            raise _refused(answer, self._door) from None
        return {name: check for name, check in checks.items() if not check["ok"]}

    def pages(
        self, path: str, name: str, size: int = _PAGE, filters: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """All rows of a list, a page at a time as they are taken. Raise ClientError."""
        query: dict[str, Any] = {**(filters or {}), "limit": size}
        while True:
            page = self.get(path, query)
            yield from _rows(page, name)
            following = page.get("next_cursor") if isinstance(page, dict) else None
            if not following:
                return
            query["cursor"] = following

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | Mapping[str, bytes] | None = None,
    ) -> Any:
        """The decoded body."""
        answer = self._send(method, API + path, body, query, headers)
        if not answer.is_success:
            raise _refused(answer, self._door)
        try:
            return answer.json()
        except ValueError:
            raise _another(answer.status_code, self._door) from None

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | Mapping[str, bytes] | None = None,
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body, params=query, headers=_as_bytes(headers))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ClientError:
        url, why = self._door.url, str(error)
        remedy = f"start it with: failoverd run; or name its address with --url ({URL_ENV})"
        if "CERTIFICATE_VERIFY_FAILED" in why:
            remedy = "name the file of the authority that signed its certificate: SSL_CERT_FILE=ca.pem"
        elif "[SSL" in why:
            remedy = f"where it serves no TLS: --url {url.replace('https://', 'http://', 1)} ({URL_ENV})"
        if not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
            # Not in its own words: they may quote what was sent, the token too.
            why = f"the answer was lost ({type(error).__name__})"
            if isinstance(error, httpx.RemoteProtocolError) and url.startswith("http://"):
                remedy = f"ask again; where it serves TLS: --url {url.replace('http://', 'https://', 1)} ({URL_ENV})"
        return ClientError(EXIT_UNREACHABLE, "unreachable", f"no daemon answers at {url}: {why}", remedy)


def because(reason: str | None) -> dict[str, bytes]:
    """The reason as the header that every mutation takes, whether its body has a place for it or not: one line of UTF-8."""
    return {} if reason is None else {REASON_HEADER: " ".join(reason.split()).encode()}


def _as_bytes(headers: Mapping[str, str] | Mapping[str, bytes] | None) -> list[tuple[bytes, bytes]]:
    found = (headers or {}).items()
    return [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in found]


def _rows(page: Any, name: str) -> list[dict[str, Any]]:
    rows = page.get(name, []) if isinstance(page, dict) else page
    return list(rows)


def _refused(answer: httpx.Response, door: Door) -> ClientError:
    """A problem document (RFC 9457) as an error; whatever else answers there is not taken for the daemon."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    status = answer.status_code
    if not isinstance(problem, dict) or "code" not in problem:
        return _another(status, door)
    code = str(problem["code"])
    detail = str(problem.get("detail") or problem.get("title") or f"{door.url} answered {status}")
    remedy = str(problem.get("remedy") or "")
    if status in (401, 403):
        used = f"the token came from {door.token_from}" if door.token else "no token was sent"
        remedy = f"{remedy or 'give a token that may do this'} ({used}; --token-file, {TOKEN_ENV})"
    return ClientError(_exit_code(status), code, detail, remedy, problem)


def _another(status: int, door: Door) -> ClientError:
    """Another program, or a proxy whose daemon is away: the daemon itself says what it refuses. The status is kept, for who asks
    again until it answers."""
    detail = f"what answers at {door.url} is no failoverd: it says {status}, and not as the daemon would"
    remedy = f"name the daemon's address with --url ({URL_ENV}); behind a proxy, look whether the daemon runs"
    return ClientError(EXIT_UNREACHABLE, "not_failoverd", detail, remedy, {"status": status})


def _exit_code(status: int) -> int:
    match status:
        case 401 | 403:
            return EXIT_AUTH
        case 404:
            return EXIT_NOT_FOUND
        case 400 | 422:
            return 2
        case 500:
            return 1
        case _:
            return EXIT_REFUSED
