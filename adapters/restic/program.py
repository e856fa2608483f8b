"""The program restic on this computer, 0.14 (Debian 12) or newer, one command a method.

What it answers is read from its JSON; secrets go by environment, never by its command line.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machines.errors import FailoverdError

_TAIL = 400
_LONGEST_LINE = 1 << 20
_INCOMPLETE = 3
"""restic's exit status where some of what it should have saved could not be read."""


class ResticFailed(FailoverdError):
    """restic ended with an error, or said what nobody expected; the text has its last words."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup made."""

    id: str
    size_bytes: int
    added_bytes: int
    is_whole: bool
    """False where something could not be read: it may have gone away meanwhile."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of a snapshot; the path is relative to the workspace."""

    path: str
    size: int


class Restic:
    """One repository."""

    def __init__(
        self, repository: str, password: str, variables: Mapping[str, str], options: Sequence[str], cache: Path
    ) -> None:
        """`variables` let it into the store; nothing else of our environment but the way to programs goes along."""
        ours = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self._environment = {
            **ours,
            **variables,
            "RESTIC_REPOSITORY": repository,
            "RESTIC_PASSWORD": password,
            "GOMAXPROCS": "2",  # The cores belong to the workload.
        }
        self._options = (*options, "--cache-dir", str(cache), "--cleanup-cache")

    async def init(self) -> None:
        await self._say("init")

    async def unlock(self) -> None:
        """Remove the locks that killed runs left; those of living ones stay."""
        await self._say("unlock")

    async def backup(self, workspace: Path, host: str, tags: Sequence[str]) -> Backup:
        """All that lies in the workspace, under paths relative to it."""
        words = ["backup", ".", "--json", "--host", host, *(word for tag in tags for word in ("--tag", tag))]
        async with self._started(words, workspace) as process:
            summary = None
            async for line in _lines(process):
                if b'"summary"' in line:
                    summary = _json(line)
            status = await process.wait()
        if status not in (0, _INCOMPLETE) or summary is None or summary.get("message_type") != "summary":
            raise ResticFailed(f"restic backup ended with status {status}: {self.last_words}")
        return Backup(
            str(summary["snapshot_id"]),
            int(summary.get("total_bytes_processed", 0)),
            int(summary.get("data_added", 0)),
            status == 0,
        )

    async def snapshots(self) -> dict[str, tuple[str, ...]]:
        """The ids of all with their tags, the oldest first."""
        rows = _json(await self._say("snapshots", "--json", "--no-lock")) or []
        ordered = sorted(rows, key=lambda row: str(row["time"]))
        return {str(row["id"]): tuple(row.get("tags") or ()) for row in ordered}

    async def files(self, snapshot: str) -> tuple[str, list[Listed]]:
        """The snapshot's whole id, and its regular files. A name that is no UTF-8 has U+FFFD for what JSON cannot say."""
        found: list[Listed] = []
        whole = ""
        async with self._started(["ls", "--json", "--no-lock", snapshot]) as process:
            async for line in _lines(process):
                row = _json(line)
                if row.get("struct_type") == "snapshot":
                    whole = str(row["id"])
                if row.get("struct_type") == "node" and row.get("type") == "file":
                    found.append(Listed(str(row["path"]).lstrip("/"), int(row.get("size", 0))))
            status = await process.wait()
        if status != 0:
            raise ResticFailed(f"restic ls ended with status {status}: {self.last_words}")
        if not whole.startswith(snapshot):
            raise ResticFailed(f"restic ls of {snapshot} told of {whole!r}")
        return whole, found

    async def digest(self, snapshot: str, path: str) -> tuple[str, int]:
        """(SHA-256 in hex, bytes) of a file as the snapshot has it, read back from the store."""
        digest, size = hashlib.sha256(), 0
        async with self._started(["dump", "--no-lock", snapshot, f"/{path}"]) as process:
            assert process.stdout is not None
            while chunk := await process.stdout.read(1 << 18):
                digest.update(chunk)
                size += len(chunk)
            status = await process.wait()
        if status != 0:
            raise ResticFailed(f"restic dump ended with status {status}: {self.last_words}")
        return digest.hexdigest(), size

    async def check(self) -> None:
        """Index, trees and packs belong together; contents are held against the manifest where they are restored."""
        await self._say("check", "--no-lock", "--with-cache")

    async def forget(self, snapshots: Sequence[str]) -> None:
        """These, and what only they needed."""
        await self._say("forget", "--prune", "--max-unused", "20%", *snapshots)

    # -- the process

    last_words: str = ""
    """What the last command wrote to its standard error, its end."""

    async def _say(self, *words: str) -> bytes:
        async with self._started(words) as process:
            assert process.stdout is not None
            said = await process.stdout.read()
            status = await process.wait()
        if status != 0:
            raise ResticFailed(f"restic {words[0]} ended with status {status}: {self.last_words}")
        return said

    @asynccontextmanager
    async def _started(
        self, words: Sequence[str], folder: Path | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """The process, which is ended where its caller is."""
        try:
            process = await asyncio.create_subprocess_exec(
                "restic", *self._options, *words,
                cwd=folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise ResticFailed("restic is not installed here: install it, or set snapshots.install") from error
        hearing = asyncio.ensure_future(self._hear(process))
        try:
            yield process
            await hearing
        finally:
            if process.returncode is None:
                # SIGINT lets it remove its lock.
                process.send_signal(signal.SIGINT)
                hearing.cancel()
                await process.wait()

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        kept = b""
        while chunk := await process.stderr.read(4096):
            kept = (kept + chunk)[-_TAIL:]
        self.last_words = " ".join(kept.decode("utf-8", "replace").split())


async def _lines(process: asyncio.subprocess.Process) -> AsyncIterator[bytes]:
    assert process.stdout is not None
    async for line in process.stdout:
        yield line


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ResticFailed(f"restic said what is no JSON: {text[:120]!r}") from error
