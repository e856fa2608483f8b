"""Backblaze B2 through its own client: objects, and application keys of which one machine can be shut out.

The client's retries are hard-wired and may last ten minutes (facts/real-servers.md, section 2.1), so each call has a
deadline of ours: the session that it speaks through refuses to begin anything after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, TypeVar

import requests
from b2sdk.v3 import B2Api, B2HttpApiConfig, Bucket, InMemoryAccountInfo
from b2sdk.v3.exception import B2Error, BadRequest, FileNotPresent, NonExistentBucket

from machines.errors import NotYet
from machines.ports import Clock, StoredObject

T = TypeVar("T")
_AGAIN = timedelta(seconds=5)
_DOORS = 4
_WRITE = ("listBuckets", "listFiles", "readFiles", "writeFiles")
"""Backing up needs no more: what is deleted with such a key is hidden, and its bytes stay."""
_READ = ("listBuckets", "listFiles", "readFiles")


@dataclass(frozen=True, slots=True)
class B2Place:
    bucket: str
    key_id: str
    key: str = field(repr=False)
    prefix: str = ""
    realm: str = "production"
    """Or the URL of another service that speaks the same protocol."""


@dataclass(frozen=True, slots=True)
class B2Key:
    id: str
    secret: str = field(repr=False)


class DeadlinePassed(Exception):
    """The call has no time left; the client does not know this error, and so does not try again."""


class _Session(requests.Session):
    """Gives no request more time than its call has left. Socket time-outs are real seconds."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.until = 0.0
        """Monotonic, on the clock."""

    def request(self, method: Any, url: Any, *args: Any, **named: Any) -> requests.Response:
        left = (self.until - self._clock.monotonic()) / self._clock.real(1.0)
        if left <= 0:
            raise DeadlinePassed
        return super().request(method, url, *args, **{**named, "timeout": (min(5.0, left), left)})


class _Door:
    """One client and its session; for one call at a time."""

    def __init__(self, info: InMemoryAccountInfo, clock: Clock) -> None:
        self.session = _Session(clock)
        self.api = B2Api(info, api_config=B2HttpApiConfig(http_session_factory=lambda: self.session))
        self.bucket: Bucket | None = None


class B2Objects:
    """`ObjectStore` in a bucket of B2, and its application keys."""

    def __init__(self, place: B2Place, clock: Clock, deadline_s: float = 30.0) -> None:
        """`deadline_s` is in real seconds."""
        self._place, self._clock, self._deadline_s = place, clock, deadline_s
        self._info = InMemoryAccountInfo()
        self._free: asyncio.LifoQueue[_Door | None] = asyncio.LifoQueue()
        for _ in range(_DOORS):
            self._free.put_nowait(None)

    async def put(self, name: str, body: bytes) -> None:
        await self._do(lambda door, bucket: bucket.upload_bytes(body, self._place.prefix + name))

    async def get(self, name: str) -> bytes | None:
        def work(door: _Door, bucket: Bucket) -> bytes | None:
            body = BytesIO()
            try:
                bucket.download_file_by_name(self._place.prefix + name).save(body, allow_seeking=False)
            except FileNotPresent:
                return None
            return body.getvalue()

        return await self._do(work)

    async def list(self, prefix: str) -> tuple[StoredObject, ...]:
        """The client lists below a folder, so the rest of the prefix is looked at here."""
        whole = self._place.prefix + prefix
        folder, slash, _ = whole.rpartition("/")

        def work(door: _Door, bucket: Bucket) -> tuple[StoredObject, ...]:
            rows = [version for version, _ in bucket.ls(folder + slash, recursive=True)]
            found = [
                StoredObject(row.file_name.removeprefix(self._place.prefix), row.size, _millis(row.upload_timestamp))
                for row in rows
                if row.file_name.startswith(whole)
            ]
            return tuple(sorted(found, key=lambda one: one.name))

        return await self._do(work)

    async def delete(self, name: str) -> None:
        """Every version of it: what B2 calls deleted is only hidden, and is paid for."""
        whole = self._place.prefix + name

        def work(door: _Door, bucket: Bucket) -> None:
            for version in bucket.list_file_versions(whole):
                try:
                    door.api.delete_file_version(version.id_, version.file_name)
                except FileNotPresent:
                    continue  # An earlier try deleted it, and its answer was lost.

        await self._do(work)

    # -- keys

    async def s3_door(self) -> str:
        """The URL of the same bucket over the S3 protocol."""
        return await self._do(lambda door, bucket: str(self._info.get_s3_api_url()))

    async def write_key(self, name: str, prefix: str) -> B2Key:
        """A key that reads and writes below the prefix, and destroys nothing. An older one of that name is shut out first:
        it was made by a call whose answer was lost."""
        return await self._make_key(name, prefix, _WRITE, None)

    async def read_key(self, name: str, prefix: str, lives_s: int) -> B2Key:
        """A key that only reads below the prefix, and dies by itself: an older one of that name is left alone, because a
        restore may go on with it."""
        return await self._make_key(name, prefix, _READ, lives_s)

    async def revoke(self, key: str) -> None:
        """No such key is success."""

        def work(door: _Door, bucket: Bucket) -> None:
            try:
                door.api.delete_key_by_id(key)
            except (FileNotPresent, BadRequest):
                if any(one.id_ == key for one in door.api.list_keys(key)):
                    raise

        await self._do(work)

    async def _make_key(self, name: str, prefix: str, capabilities: Sequence[str], lives_s: int | None) -> B2Key:
        whole = self._place.prefix + prefix

        def work(door: _Door, bucket: Bucket) -> B2Key:
            if lives_s is None:
                for older in [one for one in door.api.list_keys() if one.key_name == name]:
                    door.api.delete_key_by_id(older.id_)
            made = door.api.create_key(list(capabilities), name, lives_s, [bucket.id_], whole)
            return B2Key(made.id_, made.application_key)

        return await self._do(work)

    # -- calls

    async def _do(self, work: Callable[[_Door, Bucket], T]) -> T:
        """In a thread, under the deadline. A call that is given up keeps its thread and its client until the client ends;
        a new one takes its place."""
        door = await self._free.get() or _Door(self._info, self._clock)
        running = asyncio.get_running_loop().run_in_executor(None, self._call, door, work)
        try:
            result = await self._clock.wait_for(asyncio.shield(running), self._clock.real(self._deadline_s))
        except TimeoutError as error:
            running.add_done_callback(_forget)
            self._free.put_nowait(None)
            raise NotYet(f"B2 did not answer within {self._deadline_s:g} s", _AGAIN) from error
        except asyncio.CancelledError:
            running.add_done_callback(_forget)
            self._free.put_nowait(None)
            raise
        except (B2Error, DeadlinePassed, requests.RequestException, OSError) as error:
            self._free.put_nowait(door)
            raise NotYet(f"B2 did not do it: {_in_short(error)}", _AGAIN) from error
        except BaseException:
            self._free.put_nowait(None)
            raise
        self._free.put_nowait(door)
        return result

    def _call(self, door: _Door, work: Callable[[_Door, Bucket], T]) -> T:
        door.session.until = self._clock.monotonic() + self._clock.real(self._deadline_s)
        if door.bucket is None:
            place = self._place
            door.api.authorize_account(place.key_id, place.key, place.realm)
            try:
                door.bucket = door.api.get_bucket_by_name(place.bucket)
            except NonExistentBucket as error:
                raise B2Error(f"there is no bucket {place.bucket}: make it, or mend snapshots.bucket") from error
        return work(door, door.bucket)


def _forget(done: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more; what it ended with is looked at, so that nothing warns of it."""
    if not done.cancelled():
        done.exception()


def _in_short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:300]


def _millis(since_epoch: int) -> datetime:
    return datetime.fromtimestamp(since_epoch / 1000, UTC)
