"""The control plane under `/sim`: shows the provider's truth and lets tests and demos break things on purpose."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.sim import truth
from adapters.sim.compute import STOCKOUT
from adapters.sim.faults import Fault, FaultKind
from adapters.sim.form import ControlError, Form
from adapters.sim.instances import Instance
from adapters.sim.loader import load
from adapters.sim.snapshots import SnapshotRefused
from adapters.sim.weather import DeadBoot
from adapters.sim.world import World
from machines.ports import Clock


class _Ascii(JSONResponse):
    """JSON whose file names may be any bytes: what is no UTF-8 travels as an escaped surrogate, as Python reads it."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


Act = Callable[[Form, dict[str, str], datetime], Any]


class Control:
    """The routes of the control plane. Every change is carried out in the flesh before its answer leaves."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        settle: Callable[[], Awaitable[None]],
        count_agents: Callable[[], dict[int, int]],
    ) -> None:
        self._world, self._clock, self._settle, self._count_agents = world, clock, settle, count_agents

    def routes(self) -> list[Route]:
        table: tuple[tuple[str, str, Act], ...] = (
            ("GET", "/sim/world", self._show_world),
            ("POST", "/sim/hosts/{machine_id}/kill", self._kill_host),
            ("POST", "/sim/hosts/{machine_id}/revive", self._revive_host),
            ("POST", "/sim/instances", self._load),
            ("POST", "/sim/instances/{id}/crash", self._crash),
            ("POST", "/sim/instances/{id}/preempt", self._preempt),
            ("POST", "/sim/instances/{id}/freeze", self._freeze),
            ("POST", "/sim/instances/{id}/thaw", self._thaw),
            ("POST", "/sim/instances/{id}/break-gpu", self._break_gpu),
            ("GET", "/sim/instances/{id}/download", self._check_download),
            ("POST", "/sim/vms/{zone}/{name}/preempt", self._preempt_vm),
            ("PUT", "/sim/zones/{zone}", self._change_zone),
            ("GET", "/sim/faults", self._show_faults),
            ("POST", "/sim/faults", self._order_fault),
            ("DELETE", "/sim/faults", self._clear_faults),
            ("PUT", "/sim/account", self._set_credit),
            ("GET", "/sim/snapshots", self._list_snapshots),
            ("POST", "/sim/snapshots", self._take_snapshot),
            ("POST", "/sim/snapshots/{id}/restore", self._restore),
            ("GET", "/sim/snapshots/{id}/restore/{instance_id}", self._show_restore),
            ("GET", "/sim/snapshots/{id}/manifest", self._show_manifest),
        )
        return [Route(path, self._endpoint(act), methods=[method]) for method, path, act in table]

    def _endpoint(self, act: Act) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                raw = await request.body()
                form = Form(json.loads(raw) if raw else {})
                now = self._clock.now()
                self._world.advance(now)
                body = act(form, {**request.query_params, **request.path_params}, now)
            except ValueError as error:
                return JSONResponse({"success": False, "error": "invalid_body", "msg": str(error)}, 400)
            except ControlError as error:
                return JSONResponse(error.body, error.status)
            await self._settle()
            return _Ascii(body)

        return endpoint

    # -- the world ----------------------------------------------------------------------------------------------

    def _show_world(self, form: Form, path: dict[str, str], _now: datetime) -> Any:
        form.end()
        if "brief" in path:
            return truth.world_in_brief(self._world, self._count_agents())
        return truth.world_truth(self._world, self._count_agents())

    def _kill_host(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        form.end()
        host = _found(self._world.hosts, path["machine_id"], "host")
        self._world.kill_host(host, now)
        return truth.host_truth(host)

    def _revive_host(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        form.end()
        host = _found(self._world.hosts, path["machine_id"], "host")
        self._world.revive_host(host, now)
        return truth.host_truth(host)

    def _set_credit(self, form: Form, _path: dict[str, str], now: datetime) -> Any:
        credit = form.get("credit", float)
        form.end()
        self._world.set_credit(credit, now)
        return {"success": True, "credit": credit}

    # -- instances ----------------------------------------------------------------------------------------------

    def _load(self, form: Form, _path: dict[str, str], now: datetime) -> Any:
        instances = load(self._world, form, now)
        return {"success": True, "instances": [self._row(instance, now) for instance in instances]}

    def _row(self, instance: Instance, now: datetime) -> dict[str, Any]:
        return truth.instance_truth(self._world, instance, now, self._count_agents().get(instance.id, 0))

    def _running(self, path: dict[str, str]) -> Instance:
        instance: Instance = _found(self._world.instances, path["id"], "instance")
        if not (instance.is_up and instance.host.alive):
            raise ControlError(409, "not_running", f"instance {instance.id} is not running")
        return instance

    def _crash(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        helps = form.get("reboot_helps", bool, False)
        form.end()
        instance = self._running(path)
        self._world.rentals.lifecycle.crash(instance, now, reboot_helps=helps)
        return self._row(instance, now)

    def _preempt(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        """Another tenant takes the GPU; after `for_seconds` it leaves, and the instance resumes by itself."""
        seconds = form.get("for_seconds", float, None)
        form.end()
        instance = self._running(path)
        self._world.rentals.lifecycle.preempt(instance, now, seconds)
        return self._row(instance, now)

    def _freeze(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        form.end()
        instance = self._running(path)
        self._world.rentals.lifecycle.freeze(instance)
        return self._row(instance, now)

    def _thaw(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        form.end()
        instance = self._running(path)
        self._world.rentals.lifecycle.thaw(instance)
        return self._row(instance, now)

    def _break_gpu(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        """It goes on beating, but `nvidia-smi` fails, until the container starts anew."""
        form.end()
        instance = self._running(path)
        self._world.rentals.lifecycle.break_gpu(instance)
        return self._row(instance, now)

    def _check_download(self, form: Form, path: dict[str, str], _now: datetime) -> Any:
        """Whether the instance can fetch anything from outside: one kind of dead boot cannot."""
        form.end()
        instance = self._running(path)
        return {"ok": instance.serves and instance.fate is not DeadBoot.NO_OUTBOUND}

    # -- CPU VMs ------------------------------------------------------------------------------------------------

    def _preempt_vm(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        form.end()
        vm = self._world.compute.find(path["zone"], path["name"])
        if vm is None or vm.status != "RUNNING":
            raise ControlError(409, "not_running", f"no VM {path['name']} runs in {path['zone']}")
        self._world.compute.preempt(now, vm)
        return truth.vm_truth(self._world, vm, now)

    def _change_zone(self, form: Form, path: dict[str, str], _now: datetime) -> Any:
        """`exhausted`: has it no capacity, for what is made and for what is started? `quota`: the most VMs of its region."""
        zone, compute = path["zone"], self._world.compute
        if zone not in self._world.settings.vm_zones:
            raise ControlError(404, "no_such_zone", f"there is no zone {zone}")
        exhausted, code = form.get("exhausted", bool, None), form.get("code", str, STOCKOUT)
        quota = form.get("quota", int, None)
        form.end()
        if exhausted is not None:
            _ = compute.exhausted.update({zone: code}) if exhausted else compute.exhausted.pop(zone, None)
        if quota is not None:
            compute.quotas[zone.rpartition("-")[0]] = quota
        return {"zone": zone, "exhausted": zone in compute.exhausted, "quotas": dict(compute.quotas)}

    # -- faults -------------------------------------------------------------------------------------------------

    def _show_faults(self, form: Form, _path: dict[str, str], now: datetime) -> Any:
        form.end()
        return {"faults": [_fault_row(fault) for fault in self._world.faults.faults if not fault.is_over(now)]}

    def _order_fault(self, form: Form, _path: dict[str, str], now: datetime) -> Any:
        kinds = [kind.value for kind in FaultKind]
        kind = form.get("kind", str)
        if kind not in kinds:
            raise ControlError(400, "invalid_field", f"'kind' must be one of {', '.join(kinds)}", "kind")
        fault = Fault(
            kind=FaultKind(kind),
            endpoint=form.get("endpoint", str, "*"),
            method=form.get("method", str, None),
            status=form.get("status", int, 503),
            body=form.get("body", dict, None),
            seconds=form.get("seconds", float, 0.0),
            probability=form.get("probability", float, 1.0),
            count=form.get("count", int, None),
            skip=form.get("skip", int, 0),
        )
        for_seconds = form.get("for_seconds", float, None)
        form.end()
        self._world.faults.order(fault, now, for_seconds)
        return _fault_row(fault)

    def _clear_faults(self, form: Form, _path: dict[str, str], _now: datetime) -> Any:
        form.end()
        self._world.faults.clear()
        return {"success": True}

    # -- snapshots ----------------------------------------------------------------------------------------------

    def _list_snapshots(self, form: Form, path: dict[str, str], _now: datetime) -> Any:
        form.end()
        found = self._world.snapshots.of_machine(path.get("machine_id"))
        return {"snapshots": [truth.snapshot_truth(snapshot) for snapshot in found]}

    def _take_snapshot(self, form: Form, _path: dict[str, str], now: datetime) -> Any:
        instance = _found(self._world.instances, form.get("instance_id", int), "instance")
        form.end()
        try:
            return truth.snapshot_truth(self._world.snapshots.take(instance, now))
        except SnapshotRefused as refused:
            raise ControlError(409, "not_running", str(refused)) from None

    def _restore(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        snapshot = _found(self._world.snapshots.snapshots, path["id"], "snapshot")
        instance = _found(self._world.instances, form.get("instance_id", int), "instance")
        workspace = form.get("workspace", str, "/workspace")
        form.end()
        if not snapshot.verified:
            raise ControlError(409, "not_verified", f"snapshot {snapshot.id} is not complete")
        try:
            restore = self._world.snapshots.restore(snapshot, instance, workspace, now)
        except SnapshotRefused as refused:
            raise ControlError(409, "not_running", str(refused)) from None
        return truth.restore_truth(restore, now)

    def _show_restore(self, form: Form, path: dict[str, str], now: datetime) -> Any:
        form.end()
        restore = self._world.snapshots.restores.get((_number(path["id"]), _number(path["instance_id"])))
        if restore is None:
            raise ControlError(404, "no_such_restore", "nobody asked for this restore")
        return truth.restore_truth(self._world.snapshots.check(restore, now), now)

    def _show_manifest(self, form: Form, path: dict[str, str], _now: datetime) -> Any:
        form.end()
        snapshot = _found(self._world.snapshots.snapshots, path["id"], "snapshot")
        if snapshot.manifest is None:
            raise ControlError(409, "not_verified", f"snapshot {snapshot.id} is not complete")
        return dict(snapshot.manifest)


def _number(text: Any) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        raise ControlError(404, "not_found", f"{text!r} is not a number") from None


def _found(things: dict[int, Any], text: Any, noun: str) -> Any:
    number = _number(text)
    if number not in things:
        raise ControlError(404, f"no_such_{noun}", f"there is no {noun} {number}")
    return things[number]


def _fault_row(fault: Fault) -> dict[str, Any]:
    return {
        "kind": fault.kind.value,
        "endpoint": fault.endpoint,
        "method": fault.method,
        "status": fault.status,
        "count": fault.count,
        "probability": fault.probability,
        "ends_at": None if fault.ends_at is None else fault.ends_at.isoformat(),
        "hits": fault.hits,
    }
