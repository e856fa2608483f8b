"""A store of objects over the S3 protocol: AWS, R2, MinIO, SeaweedFS, and Backblaze's S3 door.

obstore keeps its own time-outs and a bounded number of retries; around each call stands a deadline of ours as well.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from machines.errors import NotYet
from machines.ports import Clock, StoredObject

if TYPE_CHECKING:
    from obstore.store import S3Credential

T = TypeVar("T")
_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, and how one gets in. `endpoint` None is AWS itself."""

    bucket: str
    key_id: str
    secret: str = field(repr=False)
    endpoint: str | None = None
    region: str = "us-east-1"
    path_style: bool = True
    prefix: str = ""


class S3Objects:
    """`ObjectStore` in a bucket."""

    def __init__(self, place: S3Place, clock: Clock, deadline_s: float = 30.0) -> None:
        """`deadline_s` is in real seconds: no network becomes faster."""
        self._prefix, self._clock, self._deadline_s = place.prefix, clock, deadline_s
        self._store = _store(place, deadline_s)

    async def put(self, name: str, body: bytes) -> None:
        await self._within(obstore.put_async(self._store, self._prefix + name, body))

    async def get(self, name: str) -> bytes | None:
        try:
            return await self._within(self._get(self._prefix + name))
        except FileNotFoundError:
            return None

    async def _get(self, path: str) -> bytes:
        found = await obstore.get_async(self._store, path)
        return bytes(await found.bytes_async())

    async def list(self, prefix: str) -> tuple[StoredObject, ...]:
        """obstore lists below a folder only, so the rest of the prefix is looked at here."""
        folder, slash, _ = f"{self._prefix}{prefix}".rpartition("/")
        rows = await self._within(obstore.list(self._store, f"{folder}{slash}" or None).collect_async())
        found = (
            StoredObject(row["path"].removeprefix(self._prefix), row["size"], row["last_modified"]) for row in rows
        )
        return tuple(sorted((one for one in found if one.name.startswith(prefix)), key=lambda one: one.name))

    async def delete(self, name: str) -> None:
        try:
            await self._within(obstore.delete_async(self._store, self._prefix + name))
        except FileNotFoundError:
            return

    async def _within(self, call: Awaitable[T]) -> T:
        try:
            return await self._clock.wait_for(call, self._clock.real(self._deadline_s))
        except TimeoutError as error:
            raise NotYet(f"the bucket did not answer within {self._deadline_s:g} s", _AGAIN) from error
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise NotYet("there is no such bucket: make it, or mend snapshots.bucket", _AGAIN) from error
            raise
        except (BaseError, OSError, ValueError) as error:
            raise NotYet(f"the bucket did not do it: {_in_short(error)}", _AGAIN) from error


def _store(place: S3Place, deadline_s: float) -> S3Store:
    """Everything is said here: what stands in the environment for other programs is not ours."""
    endpoint = _endpoint(place)

    def credentials() -> S3Credential:
        return {"access_key_id": place.key_id, "secret_access_key": place.secret, "token": None, "expires_at": None}

    return S3Store(
        place.bucket,
        config={
            "endpoint": endpoint,
            "region": place.region,
            "virtual_hosted_style_request": not place.path_style,
            "skip_signature": False,
        },
        credential_provider=credentials,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=5),
            "timeout": timedelta(seconds=deadline_s / 2),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=deadline_s)},
    )


def _endpoint(place: S3Place) -> str:
    """Where the bucket is no part of the path it stands before the host's name, which obstore leaves to us."""
    endpoint = place.endpoint or f"https://s3.{place.region}.amazonaws.com"
    if place.path_style:
        return endpoint
    scheme, _, host = endpoint.partition("://")
    return f"{scheme}://{place.bucket}.{host}"


def _in_short(error: Exception) -> str:
    """One line, without what a library shows of its innards."""
    text = " ".join(str(error).split())
    return text.partition(" Debug source:")[0][:300]
