"""Backblaze's native API over HTTP on 127.0.0.1: the client's own simulator behind a small adapter.

The adapter gives the simulator what only a service has: HTTP itself, keys that end when they are deleted, and prefixes that
hold for uploads and downloads too. Facts: facts/real-servers.md, sections 2.2 and 2.3.
"""

from __future__ import annotations

import base64
import inspect
import io
import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from b2sdk._internal.raw_simulator import RawSimulator
from b2sdk.v3 import exception

BUCKET = "snapshots-of-tests"
_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (exception.InvalidAuthToken, 401, "bad_auth_token"),
    (exception.Unauthorized, 401, "unauthorized"),
    (exception.FileNotPresent, 404, "not_found"),
    (exception.NonExistentBucket, 400, "bad_bucket_id"),
    (exception.DuplicateBucketName, 400, "duplicate_bucket_name"),
    (exception.BadRequest, 400, "bad_request"),
    (exception.BadJson, 400, "bad_json"),
    (exception.B2Error, 400, "bad_request"),
    (AssertionError, 401, "bad_auth_token"),
)


class Simulator(RawSimulator):
    """With the gaps closed that matter to keys."""

    MIN_PART_SIZE = 5_000_000

    def _assert_account_auth(
        self,
        api_url: str,
        account_auth_token: str,
        account_id: str,
        capability: str,
        bucket_id: str | None = None,
        file_name: str | None = None,
    ) -> None:
        key = self.key_of(account_auth_token)
        if bucket_id is None and key.buckets_or_none:
            bucket_id = key.buckets_or_none[0]["id"]  # Most calls of the simulator do not name theirs.
        if key.name_prefix_or_none and file_name is None and capability == "listFiles":
            raise exception.Unauthorized("the key lists below its prefix only", "unauthorized")
        super()._assert_account_auth(api_url, account_auth_token, account_id, capability, bucket_id, file_name)

    def key_of(self, token: str | None) -> Any:
        """The living key that a token was given for."""
        key = self.auth_token_to_key.get(token)
        if key is None or self.key_id_to_key.get(key.application_key_id) is not key:
            raise exception.InvalidAuthToken("the key is no more", "bad_auth_token")
        return key

    def require(self, token: str | None, capability: str, name: str) -> None:
        key = self.key_of(token)
        if capability not in key.capabilities or not name.startswith(key.name_prefix_or_none or ""):
            raise exception.Unauthorized(f"{capability} of {name}", "unauthorized")


@dataclass
class Fault:
    """What is answered instead to so many requests whose path fits."""

    path: str
    status: int
    code: str
    times: int = 1


class B2Server:
    """One account with one bucket."""

    def __init__(self) -> None:
        self.simulator = Simulator()
        self.lock = threading.Lock()
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.uploads: dict[str, str] = {}
        """Upload URL of the simulator -> the token that asked for it."""
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.key_id, self.key = self.simulator.create_account()
        token = self.simulator.authorize_account("", self.key_id, self.key)["authorizationToken"]
        self.simulator.create_bucket(self.simulator.API_URL, token, self.key_id, BUCKET, "allPrivate")
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5.0)

    def versions(self) -> list[str]:
        """The names of all that is stored, hidden versions too."""
        [bucket] = self.simulator.bucket_id_to_bucket.values()
        return sorted(name for name, _ in bucket.file_name_and_id_to_file)

    # -- requests

    def call(self, name: str, body: Mapping[str, Any], authorization: str) -> Mapping[str, Any]:
        simulator = self.simulator
        if name == "authorize_account":
            key_id, _, key = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            return self._with_our_urls(simulator.authorize_account("", key_id, key))
        simulator.key_of(authorization)
        method = getattr(simulator, name)
        given = {_snake(key): value for key, value in body.items()}
        if "valid_duration_in_seconds" in given and name == "create_key":
            given["valid_duration_seconds"] = given.pop("valid_duration_in_seconds")
        given |= {"api_url": simulator.API_URL, "account_auth_token": authorization}
        known = inspect.signature(method).parameters
        answer = dict(method(**{key: value for key, value in given.items() if key in known}))
        if "uploadUrl" in answer:
            self.uploads[answer["uploadUrl"]] = authorization
            answer["uploadUrl"] = f"{self.url}/upload?to={quote(answer['uploadUrl'], safe='')}"
        return answer

    def upload(self, to: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, Any]:
        token, stream, size = headers["Authorization"], io.BytesIO(body), len(body)
        if "X-Bz-Part-Number" in headers:
            number, sha1 = int(headers["X-Bz-Part-Number"]), headers["X-Bz-Content-Sha1"]
            part: Mapping[str, Any] = self.simulator.upload_part(to, token, number, size, sha1, stream)
            return part
        name = unquote(headers["X-Bz-File-Name"])
        self.simulator.require(self.uploads.get(to), "writeFiles", name)
        info = {
            key[len("X-Bz-Info-") :].lower(): unquote(value)
            for key, value in headers.items()
            if key.lower().startswith("x-bz-info-")
        }
        kind, sha1 = headers.get("Content-Type", "b2/x-auto"), headers["X-Bz-Content-Sha1"]
        made: Mapping[str, Any] = self.simulator.upload_file(to, token, name, size, kind, sha1, info, stream)
        return made

    def download(self, path: str, token: str | None, wanted: str | None) -> tuple[int, Mapping[str, str], bytes]:
        self.simulator.require(token, "readFiles", self._name_at(path))
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        extent = (int(found[1]), int(found[2])) if found else None
        url = f"{self.simulator.DOWNLOAD_URL}{path}"
        with self.simulator.download_file_from_url(token, url, extent) as response:
            body: bytes = response.data_bytes
            return (206 if extent else 200), dict(response.headers), body

    def _name_at(self, path: str) -> str:
        by_id = parse_qs(urlsplit(path).query).get("fileId")
        if by_id is None:
            return unquote(path.split("/", 3)[3])
        [bucket] = self.simulator.bucket_id_to_bucket.values()
        return str(bucket.file_id_to_file[by_id[0]].name)

    def fault_for(self, path: str) -> Fault | None:
        self.requests.append(path)
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _with_our_urls(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        text = json.dumps(answer, default=list)
        for theirs in (self.simulator.API_URL, self.simulator.DOWNLOAD_URL, self.simulator.S3_API_URL):
            text = text.replace(theirs, self.url)
        found: Mapping[str, Any] = json.loads(text)
        return found


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: B2Server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        self._call(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _call(self, body: bytes) -> None:
        parts, owner = urlsplit(self.path), self.server.owner
        if parts.path == "/upload":
            to = parse_qs(parts.query)["to"][0]
            self._answer(lambda: owner.upload(to, dict(self.headers.items()), body))
            return
        found = re.fullmatch(r"/b2api/v\d+/b2_(\w+)", parts.path)
        if found is None:
            self._say(404, {"status": 404, "code": "not_found", "message": parts.path})
            return
        token = self.headers.get("Authorization", "")
        self._answer(lambda: owner.call(found[1], json.loads(body or b"{}"), token))

    def do_GET(self) -> None:
        """Some clients authorize by GET."""
        if self.path.startswith("/b2api/") and "download_file_by_id" not in self.path:
            self._call(b"")
        else:
            self._download(with_body=True)

    def do_HEAD(self) -> None:
        self._download(with_body=False)

    def _download(self, with_body: bool) -> None:
        owner = self.server.owner
        try:
            with owner.lock:
                self._refuse_by_fault()
                token, wanted = self.headers.get("Authorization"), self.headers.get("Range")
                status, headers, body = owner.download(self.path, token, wanted)
        except Exception as error:
            self._refuse(error)
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _answer(self, work: Any) -> None:
        try:
            with self.server.owner.lock:
                self._refuse_by_fault()
                said = work()
        except Exception as error:
            self._refuse(error)
            return
        self._say(200, said)

    def _refuse_by_fault(self) -> None:
        fault = self.server.owner.fault_for(self.path)
        if fault is not None:
            raise _Injected(fault)

    def _refuse(self, error: Exception) -> None:
        if isinstance(error, _Injected):
            fault = error.fault
            self._say(fault.status, {"status": fault.status, "code": fault.code, "message": "injected"})
            return
        for kind, status, code in _STATUS:
            if isinstance(error, kind):
                code = "expired_auth_token" if "expired" in str(error) else code
                self._say(status, {"status": status, "code": code, "message": str(error)})
                return
        self._say(500, {"status": 500, "code": "internal_error", "message": repr(error)})

    def _say(self, status: int, body: Mapping[str, Any]) -> None:
        text = json.dumps(body, default=list).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *words: Any) -> None:
        pass


class _Injected(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)


@contextmanager
def b2_server() -> Iterator[B2Server]:
    server = B2Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()
