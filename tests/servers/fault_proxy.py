"""A TCP proxy between two parts of a test, whose weather is changed while it runs: latency, silence, resets, a cut.

Bytes are never lost or changed inside a stream, because no network does that: in a silence they wait, and go on when it
ends. Where a name says `up`, it means from the client to the server, and `down` the way back.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

T = TypeVar("T")

CHUNK = 65536
BACKLOG = 256
REMEMBERED = 20_000
HEAD = 64
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: the peer sees a reset, and not an orderly end."""


@dataclass(frozen=True)
class Weather:
    """What passes now."""

    latency_s: float = 0.0
    up: bool = True
    down: bool = True
    is_cut: bool = False
    """Connections are reset, and new ones too."""
    held: bytes | None = None
    """What begins with this waits on its way up."""


CLEAR = Weather()


@dataclass(eq=False)
class _Wire:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class FaultProxy:
    """Listens on loopback from the moment it is made, and passes everything on to the target's port once it is told it.

    It runs in a thread of its own; every method may be called from any other.
    """

    def __init__(self, target: int | None = None) -> None:
        self._target = target
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self._weather = CLEAR
        self._changed = asyncio.Event()
        self._wires: set[_Wire] = set()
        self._held = 0
        self.went_up: deque[tuple[float, bytes]] = deque(maxlen=REMEMBERED)
        """When bytes were passed to the server (monotonic), and how they began."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"proxy {self.port}", daemon=True)
        self._thread.start()

    def lead_to(self, target: int) -> None:
        """The port on loopback to which new connections go."""
        self._target = target

    # -- the weather

    def slow(self, latency_s: float) -> None:
        """Each chunk waits so long, in both directions."""
        self._become(replace(self._weather, latency_s=latency_s))

    def silence(self, *, up: bool = True, down: bool = True) -> None:
        """Bytes wait in the named directions; connections stay, and new ones are accepted."""
        self._become(replace(self._weather, up=not up, down=not down))

    def hold(self, beginning: bytes) -> None:
        """What begins so waits on its way up, as if the network were slow for it alone; everything else passes."""
        self._become(replace(self._weather, held=beginning))

    @property
    def holds(self) -> int:
        """How many chunks wait because of how they begin."""
        return self._call(lambda: self._held)

    def cut(self) -> None:
        """Reset every connection, and each new one."""
        self._become(replace(self._weather, is_cut=True))

    def reset(self) -> None:
        """Reset every connection once; new ones pass as before."""
        self._call(self._reset_all)

    def clear(self) -> None:
        """Back to normal: what waited goes on."""
        self._become(CLEAR)

    @property
    def connections(self) -> int:
        return self._call(lambda: len(self._wires))

    def close(self) -> None:
        """Reset everything and stop listening. Closing twice is allowed."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- in the thread

    def _call(self, what: Callable[[], T]) -> T:
        """Return when it has happened."""

        async def act() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    def _become(self, weather: Weather) -> None:
        def act() -> None:
            self._weather = weather
            waiting, self._changed = self._changed, asyncio.Event()
            waiting.set()
            if weather.is_cut:
                self._reset_all()

        self._call(act)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, sock=self._socket))
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._reset_all()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.is_cut:
            _reset(writer)
            return
        wire = _Wire(writer)
        self._wires.add(wire)
        try:
            from_server, wire.server = await asyncio.open_connection("127.0.0.1", self._target)
            await self._pass(wire, reader, from_server)
            wire.client.close()
            wire.server.close()
        except* OSError:
            pass  # One of the two is gone, and now the other is told.
        finally:
            self._drop(wire)

    async def _pass(self, wire: _Wire, reader: asyncio.StreamReader, from_server: asyncio.StreamReader) -> None:
        assert wire.server is not None
        async with asyncio.TaskGroup() as group:
            ups = self._pump(reader, wire.server, lambda weather: weather.up, self._send_up)
            downs = self._pump(from_server, wire.client, lambda weather: weather.down, _let_pass)
            wire.tasks = [group.create_task(ups), group.create_task(downs)]

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passes: Callable[[Weather], bool],
        before: Callable[[bytes], Awaitable[None]],
    ) -> None:
        """Until one side ends; a half that was closed is closed on the other side too."""
        while True:
            chunk = await reader.read(CHUNK)
            if chunk and self._weather.latency_s:
                await asyncio.sleep(self._weather.latency_s)
            while not passes(self._weather):
                await self._changed.wait()
            if not chunk:
                break
            await before(chunk)
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    async def _send_up(self, chunk: bytes) -> None:
        self._held += 1
        try:
            while self._weather.held is not None and chunk.startswith(self._weather.held):
                await self._changed.wait()
        finally:
            self._held -= 1
        self.went_up.append((time.monotonic(), chunk[:HEAD]))

    def _reset_all(self) -> None:
        for wire in tuple(self._wires):
            self._drop(wire)

    def _drop(self, wire: _Wire) -> None:
        """Both ends at once, where they did not end in order before."""
        self._wires.discard(wire)
        for task in wire.tasks:
            task.cancel()
        for writer in (wire.client, wire.server):
            if writer is not None:
                _reset(writer)


async def _let_pass(chunk: bytes) -> None:
    """Nothing stops the way down but the weather."""


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        writer.transport.abort()
