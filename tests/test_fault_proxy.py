"""The proxy between the parts of real-process tests: what each weather does to a connection."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.servers.fault_proxy import FaultProxy

SOON_S = 5.0
NOT_YET_S = 0.3


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            while chunk := self.request.recv(4096):
                self.server.heard.append(chunk)
                self.request.sendall(chunk)
        except ConnectionResetError:
            pass


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.heard: list[bytes] = []


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: EchoServer) -> Iterator[FaultProxy]:
    with closing(FaultProxy(echo.server_address[1])) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with connect(proxy) as client:
        yield client


def connect(proxy: FaultProxy) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", proxy.port), SOON_S)
    client.settimeout(SOON_S)
    return client


def ask(client: socket.socket, what: bytes) -> bytes:
    client.sendall(what)
    return client.recv(4096)


def hears_nothing(client: socket.socket) -> bool:
    client.settimeout(NOT_YET_S)
    try:
        client.recv(4096)
    except TimeoutError:
        return True
    finally:
        client.settimeout(SOON_S)
    return False


def test_in_clear_weather_everything_passes_and_is_noted(client: socket.socket, proxy: FaultProxy) -> None:
    assert ask(client, b"one") == b"one"
    assert [head for _, head in proxy.went_up] == [b"one"]
    assert proxy.connections == 1


def test_the_end_of_one_side_is_an_orderly_end_for_the_other(client: socket.socket) -> None:
    ask(client, b"one")
    client.shutdown(socket.SHUT_WR)
    assert client.recv(4096) == b""


def test_latency_delays_each_way(client: socket.socket, proxy: FaultProxy) -> None:
    proxy.slow(0.4)
    client.sendall(b"one")
    assert hears_nothing(client)
    assert client.recv(4096) == b"one"


def test_silence_on_the_way_up_reaches_nobody_until_it_ends(
    client: socket.socket, proxy: FaultProxy, echo: EchoServer
) -> None:
    proxy.silence(down=False)
    client.sendall(b"one")
    assert hears_nothing(client)
    assert echo.heard == []
    proxy.clear()
    assert client.recv(4096) == b"one"


def test_silence_on_the_way_down_lets_the_effect_happen(
    client: socket.socket, proxy: FaultProxy, echo: EchoServer
) -> None:
    proxy.silence(up=False)
    client.sendall(b"one")
    assert hears_nothing(client)
    assert echo.heard == [b"one"]
    proxy.clear()
    assert client.recv(4096) == b"one"


def test_a_connection_that_is_made_in_silence_is_accepted_and_hears_nothing(proxy: FaultProxy) -> None:
    proxy.silence()
    with connect(proxy) as client:
        client.sendall(b"one")
        assert hears_nothing(client)
        proxy.clear()
        assert client.recv(4096) == b"one"


def test_a_reset_ends_what_is_there_and_lets_new_connections_pass(client: socket.socket, proxy: FaultProxy) -> None:
    ask(client, b"one")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        ask(client, b"two")
    with connect(proxy) as another:
        assert ask(another, b"three") == b"three"


def test_an_answer_that_waits_in_silence_is_lost_by_a_reset(
    client: socket.socket, proxy: FaultProxy, echo: EchoServer
) -> None:
    proxy.silence(up=False)
    client.sendall(b"one")
    assert hears_nothing(client)
    proxy.reset()
    proxy.clear()
    with pytest.raises(ConnectionResetError):
        client.recv(4096)
    assert echo.heard == [b"one"]


def test_a_cut_resets_everything_until_it_is_mended(client: socket.socket, proxy: FaultProxy) -> None:
    ask(client, b"one")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        ask(client, b"two")
    with pytest.raises(ConnectionError), connect(proxy) as another:
        ask(another, b"three")
    proxy.clear()
    with connect(proxy) as another:
        assert ask(another, b"four") == b"four"


def test_nobody_behind_it_is_a_reset(proxy: FaultProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        proxy.lead_to(unused.getsockname()[1])
    with pytest.raises(ConnectionError), connect(proxy) as client:
        ask(client, b"one")
