"""Serves the world's Compute Engine: over HTTP beside the other provider's API, or in process.

Each call passes the same gate: faults that come before the effect, the act, faults that come after it.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.sim.answers import Answer
from adapters.sim.compute import Compute, Operation, Vm, show
from adapters.sim.compute_filter import BadFilter, parse
from adapters.sim.compute_rows import (
    UNREACHABLE,
    aggregated_row,
    any_error,
    error_body,
    instance_row,
    list_row,
    no_region,
    not_found,
    operation_row,
    region_row,
)
from adapters.sim.faults import Fault, FaultKind
from adapters.sim.vast_api import INSTEAD, ON_WIRE, Silent, response
from adapters.sim.world import World
from machines.errors import Unknown
from machines.ports import Clock

_PROJECT = "/compute/v1/projects/{project}"
_INSTANCES = f"{_PROJECT}/zones/{{zone}}/instances"
_OPERATIONS = f"{_PROJECT}/zones/{{zone}}/operations/{{operation}}"
CALLS: Mapping[str, tuple[str, str]] = {
    "insert": ("POST", _INSTANCES),
    "list": ("GET", _INSTANCES),
    "aggregatedList": ("GET", f"{_PROJECT}/aggregated/instances"),
    "get": ("GET", f"{_INSTANCES}/{{instance}}"),
    "delete": ("DELETE", f"{_INSTANCES}/{{instance}}"),
    "start": ("POST", f"{_INSTANCES}/{{instance}}/start"),
    "stop": ("POST", f"{_INSTANCES}/{{instance}}/stop"),
    "setLabels": ("POST", f"{_INSTANCES}/{{instance}}/setLabels"),
    "operation": ("GET", _OPERATIONS),
    "wait": ("POST", f"{_OPERATIONS}/wait"),
    "region": ("GET", f"{_PROJECT}/regions/{{region}}"),
}
_LONGEST_WAIT_S = 120.0
_MOST = 500
_USUAL_QUOTA = 72
"""VMs in a region, where a test has not set another."""


@dataclass(frozen=True, slots=True)
class Asked:
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any


class ComputeApi:
    """`settle` carries the effects out before the answer leaves."""

    def __init__(self, world: World, clock: Clock, settle: Callable[[], Awaitable[None]]) -> None:
        self._world, self._clock, self._settle = world, clock, settle
        self._zones = world.settings.vm_zones

    def routes(self) -> list[Route]:
        return [Route(path, self._endpoint(what), methods=[method]) for what, (method, path) in CALLS.items()]

    def _endpoint(self, what: str) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            try:
                body = json.loads(raw) if raw else None
            except ValueError:
                return response(error_body(400, "parseError", "Parse Error"))
            try:
                return response(await self.answer(what, Asked(request.path_params, dict(request.query_params), body)))
            except Silent:
                if not request.scope.get(ON_WIRE):
                    raise
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                return Response(status_code=504)

        return endpoint

    async def answer(self, what: str, asked: Asked) -> Answer:
        """Raise Silent where the caller hears nothing."""
        method, template = CALLS[what]
        path = template.format(**asked.path)
        self._world.advance(self._clock.now())
        fault = self._world.faults.meet(self._world.now, method, path, f"compute.{what}")
        if fault is not None and fault.kind in INSTEAD:
            return _fault_answer(fault)
        if fault is not None and fault.kind is FaultKind.TIMEOUT_BEFORE:
            await self._never_answer(fault)
        if fault is not None and fault.kind is FaultKind.LATENCY:
            await self._clock.sleep(fault.seconds)
        answer = await self._act(what, asked)
        await self._settle()
        if fault is None:
            return answer
        if fault.kind is FaultKind.TIMEOUT_AFTER:
            await self._never_answer(fault)
        return _fault_answer(fault) if fault.kind is FaultKind.STATUS_AFTER else _spoilt(fault, answer)

    async def _never_answer(self, fault: Fault) -> NoReturn:
        if fault.seconds > 0:
            await self._clock.sleep(fault.seconds)
        raise Silent("The simulated provider never answered")

    async def _act(self, what: str, asked: Asked) -> Answer:
        now = self._clock.now()
        self._world.advance(now)
        compute, path = self._world.compute, asked.path
        if what == "aggregatedList":
            return self._listed(asked, None)
        if what == "region":
            return self._region(path["project"], path["region"])
        zone = path["zone"]
        if zone not in self._zones:
            return error_body(400, "invalid", f"Invalid value for field 'zone': '{zone}'. Unknown zone.")
        if what == "list":
            return self._listed(asked, zone)
        if what == "insert":
            return compute.insert(now, path, asked.query, asked.body)
        if what in ("operation", "wait"):
            operation = compute.operations.get(path["operation"])
            if operation is None or operation.vm.zone != zone:
                return not_found(path["project"], zone, f"operations/{path['operation']}")
            return await self._operation(operation, what == "wait")
        vm = compute.find(zone, path["instance"], path["project"])
        if vm is None:
            return not_found(path["project"], zone, f"instances/{path['instance']}")
        return _of_vm(compute, what, vm, asked, now)

    def _region(self, project: str, region: str) -> Answer:
        """With the one quota that this world knows."""
        if not any(zone.startswith(f"{region}-") for zone in self._zones):
            return no_region(project, region)
        compute = self._world.compute
        used = sum(vm.zone.startswith(f"{region}-") for vm in compute.vms.values())
        return Answer(region_row(project, region, used, compute.quotas.get(region, _USUAL_QUOTA)))

    async def _operation(self, operation: Operation, is_wait: bool) -> Answer:
        """A long poll: until the end, two minutes at most."""
        left = (operation.ends_at - self._clock.now()).total_seconds()
        if is_wait and operation.status != "DONE" and left > 0:
            await self._clock.sleep(min(left, _LONGEST_WAIT_S))
            self._world.advance(self._clock.now())
        return Answer(operation_row(operation))

    def _listed(self, asked: Asked, zone: str | None) -> Answer:
        query = asked.query
        try:
            test = parse(query["filter"]) if query.get("filter") else _everything
        except BadFilter:
            return error_body(400, "invalid", f"Invalid value for field 'filter': '{query['filter']}'.")
        try:
            most, first = int(query.get("maxResults") or _MOST), int(query.get("pageToken") or 0)
        except ValueError:
            return error_body(400, "invalid", "Invalid value for field 'pageToken' or 'maxResults'.")
        if not 0 <= most <= _MOST:
            return error_body(400, "invalid", f"Invalid value for field 'maxResults': '{most}'.")
        project = asked.path["project"]
        vms = sorted(self._world.compute.vms.values(), key=lambda vm: vm.id)
        rows = [instance_row(vm) for vm in vms if vm.project == project and zone in (None, vm.zone)]
        rows = [row for row in rows if test(row)]
        end = first + min(most or _MOST, self._world.settings.vm_page)
        token = str(end) if end < len(rows) else None
        if zone is None:
            return Answer(aggregated_row(project, self._zones, rows[first:end], token))
        return Answer(list_row(project, zone, rows[first:end], token))


def _everything(_row: Mapping[str, Any]) -> bool:
    return True


def _of_vm(compute: Compute, what: str, vm: Vm, asked: Asked, now: Any) -> Answer:
    match what:
        case "get":
            return show(vm)
        case "start":
            return compute.start(now, vm, asked.query)
        case "stop":
            return compute.stop(now, vm, asked.query)
        case "delete":
            return compute.delete(now, vm, asked.query)
        case _:
            return compute.set_labels(now, vm, asked.query, asked.body)


def _fault_answer(fault: Fault) -> Answer:
    if fault.kind is FaultKind.AUTH_ERROR:
        return any_error(401)
    return Answer(fault.body, fault.status) if fault.body is not None else any_error(fault.status)


def _spoilt(fault: Fault, answer: Answer) -> Answer:
    """What is left of a good answer. Half a list says that something is missing; an empty one lies."""
    if fault.kind is FaultKind.MALFORMED:
        return Answer("<html><body>502 Bad Gateway</body></html>", 502)
    body = dict(answer.body)
    if "items" not in body or fault.kind not in (FaultKind.EMPTY_LIST, FaultKind.PARTIAL_LIST):
        return answer
    if fault.kind is FaultKind.EMPTY_LIST:
        del body["items"]
    elif isinstance(body["items"], list):
        body.update(items=body["items"][: len(body["items"]) // 2], warning=UNREACHABLE)
    else:
        body["items"] = {scope: {"warning": UNREACHABLE} for scope in body["items"]}
    return Answer(body, answer.status)


class SimCompute:
    """The way of a client in the same process, without HTTP and without threads."""

    def __init__(self, api: ComputeApi, clock: Clock) -> None:
        self._api, self._clock = api, clock

    async def ask(
        self,
        what: str,
        path: Mapping[str, str],
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        timeout_s: float,
    ) -> tuple[int, Mapping[str, Any]]:
        """Raise Unknown where no answer came in time."""
        try:
            asking = self._api.answer(what, Asked(path, query, body))
            answer = await self._clock.wait_for(asking, self._clock.real(timeout_s))
        except (TimeoutError, Silent):
            raise Unknown(f"{what}: no answer within {timeout_s:.0f} s") from None
        if not isinstance(answer.body, Mapping):
            return answer.status, {"error": {"code": answer.status, "message": str(answer.body)}}
        return answer.status, answer.body

    def close(self) -> None: ...
