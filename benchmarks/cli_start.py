"""What a command costs before it has done anything: CPU seconds of `failoverd --help` and `status`, and as a multiple of a bare
interpreter's, which says the same on every machine.

    python -m benchmarks.cli_start [REPETITIONS]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MACHINES = 50
HELP_S, STATUS_S = 0.6, 1.0
"""Of CPU: what an operator's machine may be asked for."""
HELP_RATIO, STATUS_RATIO = 35.0, 58.0
"""The same in bare interpreters, where one takes 17 ms."""
_BARE = (sys.executable, "-c", "pass")
_FAILOVERD = (sys.executable, "-m", "daemon.cli")


@dataclass(frozen=True, slots=True)
class Start:
    name: str
    cpu_s: float
    ratio: float
    """Of a bare interpreter's."""


def measure(repetitions: int) -> list[Start]:
    """Each at its best of so many times."""
    with _a_fleet() as url:
        bare = _best(_BARE, repetitions)
        help_s = _best((*_FAILOVERD, "--help"), repetitions)
        status_s = _best((*_FAILOVERD, "status", "--url", url), repetitions)
    return [
        Start(name, cpu_s, cpu_s / bare)
        for name, cpu_s in (("python -c pass", bare), ("failoverd --help", help_s), ("failoverd status", status_s))
    ]


def _best(command: Sequence[str], repetitions: int) -> float:
    return min(_cpu_s(command) for _ in range(repetitions))


def _cpu_s(command: Sequence[str]) -> float:
    """User and system time of the process, which must succeed. Raise CalledProcessError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "FAILOVERD_TOKEN": "any"}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def _a_fleet() -> Iterator[str]:
    """A daemon that only answers: the client's cost is measured, and not the daemon's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Fleet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Fleet(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(_ANSWERS[self.path.partition("?")[0].removeprefix("/api/v1")]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


def _machine(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"machine-{number}",
        "state": "healthy",
        "because": "it speaks",
        "since": "2026-11-23T12:00:00+00:00",
        "since_seconds": 60.0 * number,
        "gpu_instance_id": 7000 + number,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "fence": 0,
        "price_per_hour": 0.41,
        "failover_id": None,
        "last_failover_id": None,
    }


_ANSWERS: Mapping[str, Any] = {
    "/machines": {"machines": [_machine(number) for number in range(1, MACHINES + 1)], "next_cursor": None},
    "/fleet": {
        "automatic_failover": "on",
        "auto_failover": "on",
        "pause": None,
        "paused_machines": [],
        "unacknowledged": 0,
    },
    "/alerts": {"alerts": [], "count": 0},
    "/readyz": {"status": "ok", "checks": {}},
}


def main() -> int:
    """1 where a command costs more than it may."""
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    for start in found:
        print(f"{start.name:18} {start.cpu_s:6.3f} s CPU  {start.ratio:5.1f} bare interpreters")
    _, help_start, status_start = found
    return int(help_start.cpu_s > HELP_S or status_start.cpu_s > STATUS_S)


if __name__ == "__main__":
    sys.exit(main())
