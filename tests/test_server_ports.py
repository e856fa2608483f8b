"""The ports that the tests' own servers are given."""

from __future__ import annotations

import socket

from tests.servers.process import SERVER_PORTS, free_port


def test_no_two_servers_are_given_the_same_port() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    assert set(ports) <= set(SERVER_PORTS)


def test_a_port_on_which_somebody_listens_is_left_out() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        number = taken.getsockname()[1]
        assert number not in {free_port() for _ in SERVER_PORTS}
