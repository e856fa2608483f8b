"""The connections of one daemon to everything else, each through a proxy whose weather a test makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import make_url

from tests.servers import ladder
from tests.servers.fault_proxy import FaultProxy
from tests.servers.kafka import KafkaBroker


class Wires:
    """`broker` can only be used with a broker that advertises the proxy's port to whoever comes through it."""

    def __init__(self) -> None:
        self.broker, self.database, self.provider = FaultProxy(), FaultProxy(), FaultProxy()

    @property
    def all(self) -> tuple[FaultProxy, ...]:
        return (self.broker, self.database, self.provider)

    def between(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The daemon's settings, so that it goes through the proxies; and these lead to where it would have gone."""
        url = make_url(settings["database"])
        assert url.port is not None, "only a database that is reached over TCP can be cut off"
        self.database.lead_to(url.port)
        self.provider.lead_to(urlsplit(settings["vast"]["url"]).port or 0)
        return {
            **settings,
            "database": url.set(port=self.database.port).render_as_string(hide_password=False),
            "kafka": {**settings["kafka"], "bootstrap": f"127.0.0.1:{self.broker.port}"},
            "vast": {**settings["vast"], "url": f"http://127.0.0.1:{self.provider.port}"},
        }

    def clear(self) -> None:
        for proxy in self.all:
            proxy.clear()

    def close(self) -> None:
        for proxy in self.all:
            proxy.close()


@contextmanager
def wired_broker(folder: Path, replicas: int) -> Iterator[tuple[KafkaBroker, Sequence[Wires]]]:
    """A broker with a listener for each replica, whose advertised address is that replica's proxy."""
    with ExitStack() as everything:
        wires = [everything.enter_context(closing(Wires())) for _ in range(replicas)]
        doors = [each.broker.port for each in wires]
        broker = everything.enter_context(ladder.local_broker(folder, doors))
        for each, port in zip(wires, broker.door_ports, strict=True):
            each.broker.lead_to(port)
        yield broker, wires
