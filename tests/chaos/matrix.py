"""The matrix of the provider's chaos: every way in which a call goes wrong, at every call of every strategy.

`python -m tests.chaos.matrix` (or `make chaos-matrix`) plays each cell on the virtual clock, beside a machine that lives and must
be left alone, and prints what came of it. In no cell may there be two rentals for one intent, a leak, or a false verdict: the
oracle of the simulation watches, and the provider's truth is looked at in the end. A cell is `ok` where the machine serves
again, `failed CODE` where it was given up and a person was told (which a fault that lasts may bring about), and else its fault.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx

from adapters.sim.faults import Fault, FaultKind
from adapters.sim.memory_world import _operation
from adapters.sim.vast_api import one_slash_form
from daemon.simulate import be_quiet
from daemon.simulation.replica import Replica
from daemon.simulation.weather import Weather
from tests.crash.virtual import DEATHS, Death
from tests.frozen.play import still_open
from tests.virtual_fleet import Fleet, play

MOST_S, QUIET_S = 3 * 3600.0, 60.0
HOSTS, HOSTS_OF = 24, {"regional_replica": 48}
"""A machine that went on with its copy needs a third host of its region for the next one."""
SEED = 4

Faults = tuple[Fault, ...]


def _status(status: int, body: Any, after: bool = False, **headers: str) -> Fault:
    kind = FaultKind.STATUS_AFTER if after else FaultKind.STATUS
    return Fault(kind, status=status, body=body, count=1, headers=headers)


def _no(error: str, text: str) -> dict[str, Any]:
    return {"success": False, "error": error, "msg": text}


_FREQUENT = "API requests too frequent"
_THRESHOLD = f"{_FREQUENT} endpoint threshold=3.0"
_FIELDS_OF_429 = {"error": "HTTPTooManyRequests", "msg": _FREQUENT, "retry_after": 3, "limit": 5, "remaining": 0}
_GONE_ALREADY = _no("no_such_instance", "Instance 7001 not found.")

_RESET = {"X-RateLimit-Reset": str(int(datetime(2026, 1, 1, 0, 5, tzinfo=UTC).timestamp()))}
"""A little after the death, by the virtual clock."""

FAULTS: dict[str, Faults] = {
    "429 as text": (_status(429, f"{_FREQUENT}: endpoint threshold=2.0"),),
    "429 with a detail": (_status(429, {"detail": _THRESHOLD}),),
    "429 with a code": (_status(429, _no("rate_limit_exceeded", _THRESHOLD)),),
    "429 with retry_after": (_status(429, _FIELDS_OF_429),),
    "429 with Retry-After": (_status(429, {**_FIELDS_OF_429, "retry_after": None}, **{"Retry-After": "5"}),),
    "429 search quota": (_status(429, _no("search_quota_exceeded", "Daily search quota exceeded."), **_RESET),),
    "500": (_status(500, None),),
    "502": (_status(502, "<html><body>502 Bad Gateway</body></html>"),),
    "502 after the effect": (_status(502, "<html><body>502 Bad Gateway</body></html>", after=True),),
    "connect timeout": (Fault(FaultKind.UNREACHABLE, seconds=5.0, count=1),),
    "timeout before": (Fault(FaultKind.TIMEOUT_BEFORE, seconds=40.0, count=1),),
    "timeout after effect": (Fault(FaultKind.TIMEOUT_AFTER, seconds=40.0, count=1),),
    "wrong id": (Fault(FaultKind.WRONG_ID, count=1),),
    "404 right after": (_status(404, _GONE_ALREADY), _status(404, _GONE_ALREADY)),
    "conflict: the first worked": (_status(502, None, after=True), _status(409, _no("invalid_args", "conflict"))),
    "already so": (_status(400, {"success": False, "msg": "The instance is already stopped."}, after=True),),
    "quota": (_status(400, _no("spend_rate_limit", "You lack credit for this rate.")),),
    "200 that says no": (_status(200, _no("server_error", "Something went wrong on the server")),),
    "malformed": (Fault(FaultKind.MALFORMED, count=1),),
    "done later": (Fault(FaultKind.LATER, seconds=90.0, count=1),),
    "expired token": (Fault(FaultKind.AUTH_ERROR, count=4),),
    "empty list": (Fault(FaultKind.EMPTY_LIST, count=2),),
    "half a list": (Fault(FaultKind.PARTIAL_LIST, count=2),),
}
VM_FAULTS: dict[str, Faults] = {
    "429": (_status(429, None),),
    "quota": (
        _status(403, {"error": {"code": 403, "errors": [{"reason": "quotaExceeded"}], "message": "Quota 'CPUS'"}}),
    ),
    "500": (_status(500, None),),
    "503": (_status(503, None),),
    "503 after the effect": (_status(503, None, after=True),),
    "connect timeout": FAULTS["connect timeout"],
    "timeout before": FAULTS["timeout before"],
    "timeout after effect": FAULTS["timeout after effect"],
    "404 right after": (_status(404, None), _status(404, None)),
    "conflict: the first worked": (_status(503, None, after=True), _status(409, None)),
    "malformed": FAULTS["malformed"],
    "expired token": FAULTS["expired token"],
    "empty list": FAULTS["empty list"],
    "half a list": FAULTS["half a list"],
}
"""At Compute Engine."""
_ONLY_LISTS = ("empty list", "half a list")
_ONLY_CHANGES = ("done later", "already so")
_READS = ("GET", "POST")
_VM = "compute."
"""So begin the operations of Compute Engine."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault at one call of one strategy."""

    story: str
    operation: str
    fault: str


@dataclass(frozen=True, slots=True)
class Result:
    cell: Cell
    outcome: str
    """How the machine's failover ended."""
    met: int
    """How many calls met the fault."""
    wrongs: tuple[str, ...]
    """What must be in no cell."""


def cells(stories: Sequence[str] = ()) -> Iterator[Cell]:
    """Every call that an undisturbed run of the strategy makes, with every fault that it can meet."""
    for death in DEATHS:
        if stories and death.name not in stories:
            continue
        for operation, method in _calls_of(death.name).items():
            for fault in faults_of(operation):
                is_list = operation in ("list_instances", "list_volumes", "search_offers", f"{_VM}aggregatedList")
                if fault in _ONLY_LISTS and not is_list:
                    continue
                if fault == "429 search quota" and operation != "search_offers":
                    continue
                if (fault in _ONLY_CHANGES and method in _READS) or (fault == "done later" and "create" in operation):
                    continue  # A create that is done later has no number to answer with.
                yield Cell(death.name, operation, fault)


def faults_of(operation: str) -> dict[str, Faults]:
    return VM_FAULTS if operation.startswith(_VM) else FAULTS


def _calls_of(story: str) -> dict[str, str]:
    calls: dict[str, str] = {}
    _play(story, None, calls)
    return calls


def run(wanted: Iterable[Cell]) -> Iterator[Result]:
    for cell in wanted:
        yield _play(cell.story, cell, {})


def _play(story: str, cell: Cell | None, calls: dict[str, str]) -> Result:
    """Machine 1 dies, and machine 2 lives on."""
    death = next(one for one in DEATHS if one.name == story)

    async def told(fleet: Fleet) -> Result:
        return await _told(fleet, death, cell, calls)

    return play(told, death.plan(SEED, 2, HOSTS_OF.get(story, HOSTS)))


async def _told(fleet: Fleet, death: Death, cell: Cell | None, calls: dict[str, str]) -> Result:
    theatre, made = fleet.theatre, defaultdict[str, set[int]](set)
    await fleet.until(lambda: not still_open(theatre) and (not death.has_vm or len(theatre.books.copies()) == 2))
    watched, asked, heard = theatre.on_call, theatre.on_vm_call, theatre.on_world

    def on_call(replica: Replica, request: httpx.Request) -> None:
        found = _operation(request.method, one_slash_form(request.url.path))
        if found is not None:
            calls.setdefault(found[0].name, request.method)
        watched(replica, request)

    def on_vm_call(replica: Replica, what: str, path: Mapping[str, str], body: Any) -> None:
        calls.setdefault(f"{_VM}{what}", what)
        asked(replica, what, path, body)

    def on_world() -> None:
        for instance in fleet.world.instances.values():
            made[instance.label or ""].add(instance.id)
        heard()

    theatre.on_call, theatre.on_vm_call, theatre.on_world = on_call, on_vm_call, on_world
    faults = () if cell is None else faults_of(cell.operation)[cell.fault]
    orders = [] if cell is None else [replace(fault, endpoint=cell.operation) for fault in faults]
    for order in orders:
        fleet.world.faults.order(order, theatre.clock.now(), None)
    Weather(theatre, fleet.oracle.seen).begin(death.begins)
    left = await _until_quiet(fleet)
    twice = [f"{len(ids)} rentals under {label}" for label, ids in made.items() if len(ids) > 1]
    return _result(fleet, cell, orders, [*twice, *left])


async def _until_quiet(fleet: Fleet) -> list[str]:
    """What is left once nothing moves any more."""
    clock, theatre = fleet.theatre.clock, fleet.theatre
    deadline, least, quiet_since, left = clock.monotonic() + MOST_S, clock.monotonic() + 90.0, 0.0, ["never looked at"]
    while clock.monotonic() < deadline and not fleet.violations:
        await fleet.sleep(2.0)
        fleet.oracle.on_second()
        left = still_open(theatre)
        now = clock.monotonic()
        quiet_since = now if left or not theatre.books.failovers() else quiet_since
        if now > least and now - quiet_since >= QUIET_S:
            break
    return left


def _result(fleet: Fleet, cell: Cell | None, orders: Sequence[Fault], wrongs: Sequence[str]) -> Result:
    books = fleet.theatre.books
    rows, machines = books.failovers(), books.machines()
    found = [*fleet.violations, *wrongs]
    if any(row.machine == 2 for row in rows) or machines[1].state != "healthy":
        found.append("machine 2 lived, and was not left alone")
    last = next((row for row in reversed(rows) if row.machine == 1), None)
    outcome = "not noticed" if last is None else "ok" if last.success else f"failed {last.code}"
    if last is None:
        found.append("the death was not noticed")
    shown = cell or Cell("", "", "")
    return Result(shown, outcome, sum(order.hits for order in orders), tuple(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--story", action="append", default=[], choices=[death.name for death in DEATHS])
    parser.add_argument("--every", type=int, default=1, help="play only every n-th cell")
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    be_quiet()
    seen: Counter[str] = Counter()
    row = ""
    for result in run(cell for place, cell in enumerate(cells(asked.story)) if place % asked.every == asked.first):
        cell = result.cell
        if f"{cell.story} {cell.operation}" != row:
            row = f"{cell.story} {cell.operation}"
            print(f"{row}", flush=True)
        seen["BAD" if result.wrongs else result.outcome] += 1
        met = "" if result.met else "  (no call met it)"
        print(f"    {cell.fault:<28} {result.outcome}{met}", flush=True)
        for wrong in result.wrongs:
            print(f"        WRONG: {wrong}", flush=True)
    print(f"{sum(seen.values())} cells: " + ", ".join(f"{count} {what}" for what, count in seen.most_common()))
    return 1 if seen["BAD"] or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
