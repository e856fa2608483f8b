"""The thin HTTP client behind the commands that people type: no provider, no database, only the daemon's own API."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

DEFAULT_URL = "http://127.0.0.1:8787"
DEFAULT_TOKEN_FILE = Path("var/failoverd/token")
URL_ENV = "FAILOVERD_API_URL"
TOKEN_ENV = "FAILOVERD_TOKEN"
API = "/api/v1"
_PAGE = 500

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

    Raise ClientError where a file that was named cannot be read.
    """
    address = (url or env.get(URL_ENV) or DEFAULT_URL).rstrip("/")
    if not address.startswith(("http://", "https://")):
        remedy = f"give --url http://host:port, or set {URL_ENV}"
        raise ClientError(2, "invalid_url", f"{address!r} is no address of a daemon", remedy)
    if token_file is None and env.get(TOKEN_ENV):
        return Door(address, env[TOKEN_ENV].strip(), TOKEN_ENV)
    path = token_file or DEFAULT_TOKEN_FILE
    try:
        return Door(address, path.read_text(encoding="utf-8").strip(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        if token_file is None:
            return Door(address, None)
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ClientError(2, "token_unreadable", f"{path}: {why}", "name a readable file with --token-file") from error


class ApiClient:
    """Calls the daemon and turns every refusal into a ClientError."""

    def __init__(self, door: Door, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Accept": "application/json", "Accept-Language": "en"}
        if door.token:
            headers["Authorization"] = f"Bearer {door.token}"
        self._door = door
        self._http = httpx.Client(base_url=door.url, headers=headers, timeout=30.0, transport=transport)

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The decoded body. Raise ClientError."""
        return self._call("GET", path, query=query).json()

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded body. Raise ClientError."""
        return self._call("POST", path, body, query, headers).json()

    def machines(self) -> list[dict[str, Any]]:
        """The whole fleet, page by page."""
        return list(self._pages("/machines", "machines"))

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

    def _pages(self, path: str, name: str) -> Iterator[dict[str, Any]]:
        query: dict[str, Any] = {"limit": _PAGE}
        while True:
            page = self.get(path, query)
            yield from _rows(page, name)
            following = page.get("next_cursor") if isinstance(page, dict) else None
            if not following:
                return
            query = {"limit": _PAGE, "cursor": following}

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        answer = self._send(method, API + path, body, query, headers)
        if answer.is_success:
            return answer
        raise _refused(answer, self._door)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body, params=query, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise self._unreachable(str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(f"the answer was lost: {error!r}") from error

    def _unreachable(self, why: str) -> ClientError:
        remedy = f"start it with: failoverd run; or name its address with --url ({URL_ENV})"
        return ClientError(EXIT_UNREACHABLE, "unreachable", f"no daemon answers at {self._door.url}: {why}", remedy)


def _rows(page: Any, name: str) -> list[dict[str, Any]]:
    rows = page.get(name, []) if isinstance(page, dict) else page
    return list(rows)


def _refused(answer: httpx.Response, door: Door) -> ClientError:
    """A problem document (RFC 9457) as an error; whatever else answers there is not taken for the daemon."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    status = answer.status_code
    code = str(problem.get("code") or f"http_{status}")
    detail = str(problem.get("detail") or problem.get("title") or f"{door.url} answered {status}")
    remedy = str(problem.get("remedy") or "")
    if status in (401, 403):
        used = f"the token came from {door.token_from}" if door.token else "no token was sent"
        remedy = f"{remedy or 'give a token that may do this'} ({used}; --token-file, {TOKEN_ENV})"
    return ClientError(_exit_code(status), code, detail, remedy, problem)


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
