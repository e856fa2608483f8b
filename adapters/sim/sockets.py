"""Real ports on loopback for containers: reserved for an instance as long as it exists, listening only while it runs.

A reserved port is held by a bound socket that does not listen: connections are refused, and nobody else gets the port,
so that a client of a dead instance never reaches another one.
"""

import socket

LOOPBACK = "127.0.0.1"
BACKLOG = 128


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((LOOPBACK, port))
    bound.setblocking(False)
    return bound


class LoopbackPorts:
    """The port source of an embodied world."""

    def __init__(self) -> None:
        self._held: dict[int, socket.socket] = {}
        self._shared: socket.socket | None = None

    def shared(self) -> int:
        """Reserved at the first question, and listening from then on (`door`)."""
        port: int = self.door().getsockname()[1]
        return port

    def door(self) -> socket.socket:
        """The listening socket of the shared port."""
        if self._shared is None:
            self._shared = _bound(0)
            self._shared.listen(BACKLOG)
        return self._shared

    def renew(self, instance_id: int) -> int:
        """A port that differs from the one before, which is given back."""
        fresh = _bound(0)
        self.release(instance_id)
        self._held[instance_id] = fresh
        port: int = fresh.getsockname()[1]
        return port

    def release(self, instance_id: int) -> None:
        held = self._held.pop(instance_id, None)
        if held is not None:
            held.close()

    def listen(self, instance_id: int) -> socket.socket:
        """A listening socket on the instance's reserved port; the caller closes it."""
        listening = _bound(self._held[instance_id].getsockname()[1])
        listening.listen(BACKLOG)
        return listening

    def close(self) -> None:
        for instance_id in list(self._held):
            self.release(instance_id)
        if self._shared is not None:
            self._shared.close()
            self._shared = None
