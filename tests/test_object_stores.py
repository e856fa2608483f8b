"""One suite for every store of objects: a bucket over S3, B2's own protocol, and a folder."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.b2 import B2Objects, B2Place
from adapters.folder import FolderObjects
from adapters.s3 import S3Objects, S3Place
from adapters.system_clock import SystemClock
from machines.errors import NotYet
from machines.ports import ObjectStore
from tests.servers.b2 import BUCKET, B2Server, Fault, b2_server
from tests.servers.process import free_port
from tests.servers.s3 import Bucket

KINDS = ("s3", "b2", "folder")


@pytest.fixture(scope="module")
def b2() -> Iterator[B2Server]:
    with b2_server() as server:
        yield server


def s3_place(bucket: Bucket, prefix: str) -> S3Place:
    return S3Place(bucket.name, bucket.key_id, bucket.secret, bucket.endpoint, prefix=prefix)


def b2_place(server: B2Server, prefix: str) -> B2Place:
    return B2Place(BUCKET, server.key_id, server.key, prefix, server.url)


@dataclass
class Both:
    """A store, and another one whose prefix begins with the first one's."""

    store: ObjectStore
    neighbour: ObjectStore


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Both:
    prefix, clock = f"run-{uuid4().hex}/", SystemClock()
    beside = prefix.rstrip("/") + "-2/"
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("s3_bucket")
        return Both(S3Objects(s3_place(bucket, prefix), clock), S3Objects(s3_place(bucket, beside), clock))
    if request.param == "b2":
        server: B2Server = request.getfixturevalue("b2")
        return Both(B2Objects(b2_place(server, prefix), clock), B2Objects(b2_place(server, beside), clock))
    return Both(FolderObjects(tmp_path, prefix), FolderObjects(tmp_path, beside))


async def test_what_was_put_is_what_is_got(both: Both) -> None:
    for body in (b"", b"one", bytes(range(256)) * 4000):
        await both.store.put("m7/snapshots/a.json", body)
        assert await both.store.get("m7/snapshots/a.json") == body


async def test_an_object_that_is_not_there_is_none(both: Both) -> None:
    assert await both.store.get("m7/nothing") is None
    await both.store.put("m7/snapshots/a", b"1")
    assert await both.store.get("m7/snapshots") is None
    assert await both.store.get("m7/snapshots/a/b") is None


async def test_a_list_has_all_that_begin_so_and_nothing_of_a_neighbour(both: Both) -> None:
    assert await both.store.list("m7/") == ()
    for name in ("m7/b", "m7/a/x", "m7/ab", "m70/a", "m8/a"):
        await both.store.put(name, b"12345")
    await both.neighbour.put("m7/c", b"1")
    assert [one.name for one in await both.store.list("m7/")] == ["m7/a/x", "m7/ab", "m7/b"]
    assert [one.name for one in await both.store.list("m7/a")] == ["m7/a/x", "m7/ab"]
    assert [one.name for one in await both.store.list("m7/a/x")] == ["m7/a/x"]
    assert len(await both.store.list("")) == 5
    assert {one.size for one in await both.store.list("m7/")} == {5}
    assert [one.name for one in await both.neighbour.list("")] == ["m7/c"]


async def test_a_list_tells_when_each_was_written(both: Both) -> None:
    for name in ("m7/b", "m7/a"):
        await both.store.put(name, b"1")
    listed = {one.name: one.written_at for one in await both.store.list("m7/")}
    first, second = listed["m7/b"], listed["m7/a"]
    assert first is not None
    assert second is not None
    assert first.tzinfo is not None
    assert first <= second


async def test_a_list_is_whole_however_long_it_is(both: Both) -> None:
    names = [f"m1/{number:05d}" for number in range(1200)]
    for start in range(0, len(names), 40):
        await asyncio.gather(*(both.store.put(name, b"") for name in names[start : start + 40]))
    assert [one.name for one in await both.store.list("m1/")] == names


async def test_what_is_deleted_is_gone_and_may_be_deleted_again(both: Both) -> None:
    await both.store.put("m7/a", b"1")
    await both.store.put("m7/a", b"2")
    await both.store.put("m7/ab", b"3")
    await both.store.delete("m7/a")
    assert await both.store.get("m7/a") is None
    await both.store.delete("m7/a")
    assert [one.name for one in await both.store.list("m7/")] == ["m7/ab"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_that_is_away_says_not_yet_and_never_nothing(kind: str, tmp_path: Path) -> None:
    nowhere, clock = f"http://127.0.0.1:{free_port()}", SystemClock()
    stores: dict[str, ObjectStore] = {
        "s3": S3Objects(S3Place("b", "k", "s", nowhere), clock, deadline_s=2.0),
        "b2": B2Objects(B2Place("b", "k", "s", "", nowhere), clock, deadline_s=2.0),
        "folder": FolderObjects(tmp_path / "not-mounted"),
    }
    began = clock.monotonic()
    for call in (stores[kind].get("a"), stores[kind].list(""), stores[kind].put("a", b""), stores[kind].delete("a")):
        with pytest.raises(NotYet):
            await call
    assert clock.monotonic() - began < 30


async def test_a_key_that_is_not_let_in_says_not_yet(s3_bucket: Bucket, b2: B2Server) -> None:
    clock = SystemClock()
    s3 = S3Objects(replace(s3_place(s3_bucket, ""), secret="wrong"), clock, deadline_s=5.0)
    other = B2Objects(replace(b2_place(b2, ""), key="wrong"), clock, deadline_s=5.0)
    for store in (s3, other):
        with pytest.raises(NotYet):
            await store.get("a")
        with pytest.raises(NotYet):
            await store.list("")


async def test_a_bucket_that_is_not_there_is_no_empty_one(s3_bucket: Bucket, b2: B2Server) -> None:
    clock = SystemClock()
    s3 = S3Objects(replace(s3_place(s3_bucket, ""), bucket="no-such-bucket"), clock, deadline_s=5.0)
    other = B2Objects(replace(b2_place(b2, ""), bucket="no-such-bucket"), clock, deadline_s=5.0)
    for store in (s3, other):
        with pytest.raises(NotYet):
            await store.get("a")


async def test_what_the_environment_says_for_other_programs_is_not_ours(
    s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_SESSION_TOKEN": "stale",
        "AWS_ACCESS_KEY_ID": "other",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_REGION": "eu-nowhere-1",
    }.items():
        monkeypatch.setenv(name, value)
    store = S3Objects(s3_place(s3_bucket, f"{uuid4().hex}/"), SystemClock(), deadline_s=5.0)
    await store.put("a", b"1")
    assert await store.get("a") == b"1"


async def test_a_bucket_before_the_hosts_name_is_found_there(s3_bucket: Bucket) -> None:
    """`*.localhost` is this computer by name alone (RFC 6761); whoever resolves it otherwise is told so by the error."""
    port = s3_bucket.endpoint.rpartition(":")[2]
    place = replace(s3_place(s3_bucket, ""), endpoint=f"http://s3.localhost:{port}", path_style=False)
    with pytest.raises(NotYet) as error:
        await S3Objects(place, SystemClock(), deadline_s=4.0).get("a")
    assert f"{s3_bucket.name}.s3.localhost" in str(error.value) or "403" in str(error.value)


async def test_b2_goes_on_after_faults_and_expired_tokens(b2: B2Server) -> None:
    store = B2Objects(b2_place(b2, f"{uuid4().hex}/"), SystemClock())
    b2.faults = [
        Fault("/upload", 503, "service_unavailable"),
        Fault("b2_get_upload_url", 401, "expired_auth_token"),
        Fault("/file/", 503, "service_unavailable"),
        Fault("b2_list_file_names", 401, "expired_auth_token"),
    ]
    await store.put("a", b"1")
    assert await store.get("a") == b"1"
    assert [one.name for one in await store.list("")] == ["a"]
    assert [fault.times for fault in b2.faults] == [0, 0, 0, 0]
    b2.faults = []


async def test_a_b2_that_answers_nonsense_does_not_hold_us(b2: B2Server) -> None:
    clock = SystemClock()
    store = B2Objects(b2_place(b2, "x/"), clock, deadline_s=3.0)
    await store.put("a", b"1")
    b2.faults = [Fault(".", 500, "internal_error", 1000)]
    began = clock.monotonic()
    with pytest.raises(NotYet):
        await store.put("a", b"2")
    assert clock.monotonic() - began < 6
    b2.faults = []
    assert await store.get("a") == b"1"


async def test_keys_of_b2_reach_one_machine_and_destroy_nothing(b2: B2Server) -> None:
    clock, prefix = SystemClock(), f"{uuid4().hex}/"
    store = B2Objects(b2_place(b2, prefix), clock)
    await store.put("m8/a", b"another machine's")
    key = await store.write_key("d-m7-f3-write", "m7/")
    own = B2Objects(replace(b2_place(b2, prefix), key_id=key.id, key=key.secret), clock, deadline_s=5.0)
    await own.put("m7/a", b"1")
    assert await own.get("m7/a") == b"1"
    for refused in (own.get("m8/a"), own.put("m8/a", b"2"), own.list("m8/"), own.delete("m7/a")):
        with pytest.raises(NotYet):
            await refused
    reading = await store.read_key("d-m7-read", "m7/", 3600)
    reader = B2Objects(replace(b2_place(b2, prefix), key_id=reading.id, key=reading.secret), clock, deadline_s=5.0)
    assert await reader.get("m7/a") == b"1"
    with pytest.raises(NotYet):
        await reader.put("m7/a", b"2")
    await store.revoke(key.id)
    await store.revoke(key.id)
    with pytest.raises(NotYet):
        await own.get("m7/a")
    assert await store.get("m8/a") == b"another machine's"


async def test_a_key_that_only_reads_is_left_alone_when_another_is_made(b2: B2Server) -> None:
    """Whoever was given the older one may be reading with it."""
    store = B2Objects(b2_place(b2, ""), SystemClock())
    keys = [await store.read_key("d-m9-i1-read", "m9/", 3600) for _ in range(2)]
    assert {key.id for key in keys} <= set(b2.simulator.key_id_to_key)


async def test_a_key_that_is_made_again_shuts_the_older_one_out(b2: B2Server) -> None:
    """The answer to the first call may have been lost: nobody would ever revoke its key."""
    store = B2Objects(b2_place(b2, ""), SystemClock())
    first = await store.write_key("d-m9-f1-write", "m9/")
    second = await store.write_key("d-m9-f1-write", "m9/")
    assert first.id not in b2.simulator.key_id_to_key
    assert second.id in b2.simulator.key_id_to_key


async def test_an_independent_client_of_b2_sees_what_we_see(b2: B2Server) -> None:
    """The service is a simulator behind an adapter of ours: a client that knows neither keeps both honest."""
    prefix = uuid4().hex
    store = B2Objects(b2_place(b2, f"{prefix}/"), SystemClock())
    await store.put("m7/ours", b"ours")

    def rclone(*words: str, stdin: bytes = b"") -> bytes:
        options = ["--config", "/dev/null", "--b2-account", b2.key_id, "--b2-key", b2.key, "--b2-endpoint", b2.url]
        command = [str(Path(sys.executable).with_name("rclone")), *options, "--retries", "1", *words]
        return subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=60).stdout

    root = f":b2:{BUCKET}/{prefix}/m7"
    assert await asyncio.to_thread(rclone, "cat", f"{root}/ours") == b"ours"
    await asyncio.to_thread(lambda: rclone("rcat", f"{root}/theirs", stdin=b"theirs"))
    assert await store.get("m7/theirs") == b"theirs"
    assert await asyncio.to_thread(rclone, "lsf", root) == b"ours\ntheirs\n"
    await store.delete("m7/ours")
    assert await asyncio.to_thread(rclone, "lsf", "--b2-versions", root) == b"theirs\n"
    await asyncio.to_thread(rclone, "deletefile", f"{root}/theirs")
    assert await store.get("m7/theirs") is None
    assert await store.list("m7/") == ()
    await store.delete("m7/theirs")
    assert [name for name in b2.versions() if name.startswith(prefix)] == []
