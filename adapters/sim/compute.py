"""Compute Engine's truth in the simulated world: zones, VMs, and the operations that change them.

What a call asks for happens when its operation ends, not when it is accepted; a zone without capacity lets the operation
end with an error (facts/real-servers.md, sections 1.3 to 1.5). It draws nothing from the world's luck and pays from a bill
of its own: another provider.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from adapters.sim.answers import Answer
from adapters.sim.bills import Ledger
from adapters.sim.compute_rows import (
    error_body,
    fingerprint_of,
    instance_row,
    not_ready,
    operation_row,
    over_quota,
    stockout,
)
from adapters.sim.core import Core

NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_ZERO_UUID = "00000000-0000-0000-0000-000000000000"
_PRICES = {"e2-standard-2": 0.067, "e2-standard-4": 0.134, "e2-standard-8": 0.268, "n2-standard-4": 0.194}
_OTHER_PRICE, _SPOT_SHARE, _DISK_GB_HOUR = 0.15, 0.3, 0.04 / 730
STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"


@dataclass(slots=True)
class Vm:
    id: int
    project: str
    zone: str
    body: dict[str, Any]
    """What was inserted."""
    created_at: datetime
    status: str = "PROVISIONING"
    labels: dict[str, str] = field(default_factory=dict)
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    address: str | None = None
    turn: int = 0
    """Rises with each change of its course: what was planned for an older one comes to nothing."""
    begun_by: str | None = None
    """The operation that is creating it."""
    ending: str | None = None
    """The operation that is deleting it."""

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.labels)

    @property
    def is_spot(self) -> bool:
        return bool((self.body.get("scheduling") or {}).get("provisioningModel") == "SPOT")

    @property
    def price(self) -> float:
        price = _PRICES.get(str(self.body["machineType"]).rpartition("/")[2], _OTHER_PRICE)
        return price * _SPOT_SHARE if self.is_spot else price

    @property
    def disk_price(self) -> float:
        sizes = [float((disk.get("initializeParams") or {}).get("diskSizeGb") or 10) for disk in self.body["disks"]]
        return sum(sizes) * _DISK_GB_HOUR


@dataclass(slots=True)
class Operation:
    number: int
    kind: str
    vm: Vm
    request_id: str | None
    inserted_at: datetime
    ends_at: datetime
    status: str = "RUNNING"
    error: Mapping[str, Any] | None = None
    ended_at: datetime | None = None

    @property
    def name(self) -> str:
        return f"operation-{self.number}"


class Compute:
    """Every project is the same account, and shows its own VMs; the zones are those of the settings."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._settings = core.settings
        self.ledger = Ledger(0.0)
        self.vms: dict[tuple[str, str], Vm] = {}
        self.operations: dict[str, Operation] = {}
        self.exhausted: dict[str, str] = {}
        """Zones without capacity, with the code that their operations end with."""
        self.quotas: dict[str, int] = {}
        """The most VMs of a region, where there is a bound."""
        self._by_request: dict[str, Operation] = {}
        self._next_vm = 4_000_000_000_000_000_001
        self._next_operation = 1_000_000_000_000_000_001
        self._next_address = 0

    def find(self, zone: str, name_or_id: str, project: str | None = None) -> Vm | None:
        """In this project, or in whichever."""
        found = self.vms.get((zone, name_or_id))
        if found is None and name_or_id.isdecimal():
            found = next((vm for vm in self.vms.values() if vm.zone == zone and vm.id == int(name_or_id)), None)
        return found if found is not None and project in (None, found.project) else None

    # -- the calls that change something

    def insert(self, now: datetime, path: Mapping[str, str], query: Mapping[str, str], body: Any) -> Answer:
        again = self._asked_before(query, now)
        fault = again or self._unfit(path["zone"], body)
        if fault is not None:
            return fault
        if (path["zone"], body["name"]) in self.vms:
            resource = f"projects/{path['project']}/zones/{path['zone']}/instances/{body['name']}"
            return error_body(409, "alreadyExists", f"The resource '{resource}' already exists")
        vm = Vm(self._next_vm, path["project"], path["zone"], dict(body), now, labels=dict(body.get("labels") or {}))
        self._next_vm += 1
        refusal = self._refusal(vm)
        self.vms[vm.zone, vm.name] = vm
        seconds = self._settings.vm_stockout_seconds if refusal else self._settings.vm_boot_seconds
        operation = self._begin("insert", vm, query, now, seconds)
        vm.begun_by = operation.name
        self.ledger.set_rate("disk", vm.id, 0.0 if refusal else vm.disk_price, now)
        if refusal is None:
            self._plan(vm, now, seconds / 4, lambda when: _become(vm, "STAGING"))
        self._plan(vm, now, seconds, lambda when: self._created(vm, operation, refusal, when))
        return Answer(operation_row(operation))

    def _created(self, vm: Vm, operation: Operation, refusal: Mapping[str, Any] | None, when: datetime) -> None:
        vm.begun_by = None
        if refusal is None:
            self._run(vm, when)
        else:
            self._remove(vm, when)
        _end(operation, when, refusal)

    def start(self, now: datetime, vm: Vm, query: Mapping[str, str]) -> Answer:
        again = self._asked_before(query, now)
        if again is not None:
            return again
        if vm.status in ("RUNNING", "STAGING", "PROVISIONING"):
            return self._at_once("start", vm, query, now)
        if vm.status != "TERMINATED":
            return not_ready(vm)
        refusal = self._stockout(vm)
        seconds = self._settings.vm_stockout_seconds if refusal else self._settings.vm_start_seconds
        operation = self._begin("start", vm, query, now, seconds)
        _become(vm, "STAGING")

        def end(when: datetime) -> None:
            if refusal is None:
                self._run(vm, when)
            else:
                _become(vm, "TERMINATED")
            _end(operation, when, refusal)

        self._plan(vm, now, seconds, end)
        return Answer(operation_row(operation))

    def stop(self, now: datetime, vm: Vm, query: Mapping[str, str]) -> Answer:
        again = self._asked_before(query, now)
        if again is not None:
            return again
        if vm.status in ("TERMINATED", "STOPPING"):
            return self._at_once("stop", vm, query, now)
        if vm.status != "RUNNING":
            return not_ready(vm)
        operation = self._begin("stop", vm, query, now, self._settings.vm_stop_seconds)
        self._halt(vm)

        def end(when: datetime) -> None:
            self._stopped(vm, when)
            _end(operation, when)

        self._plan(vm, now, self._settings.vm_stop_seconds, end)
        return Answer(operation_row(operation))

    def delete(self, now: datetime, vm: Vm, query: Mapping[str, str]) -> Answer:
        again = self._asked_before(query, now)
        if again is not None:
            return again
        if vm.begun_by is not None:
            return not_ready(vm)
        if vm.ending is not None:
            return Answer(operation_row(self.operations[vm.ending]))
        for other in self.operations.values():
            if other.vm is vm and other.status != "DONE":
                _end(other, now)  # What it was about to do comes to nothing.
        operation = self._begin("delete", vm, query, now, self._settings.vm_stop_seconds)
        vm.ending = operation.name
        self._halt(vm)

        def end(when: datetime) -> None:
            self._remove(vm, when)
            _end(operation, when)

        self._plan(vm, now, self._settings.vm_stop_seconds, end)
        return Answer(operation_row(operation))

    def set_labels(self, now: datetime, vm: Vm, query: Mapping[str, str], body: Any) -> Answer:
        again = self._asked_before(query, now)
        if again is not None:
            return again
        if not isinstance(body, Mapping) or body.get("labelFingerprint") != vm.fingerprint:
            return error_body(
                412, "conditionNotMet", "Labels fingerprint either invalid or resource labels have changed"
            )
        vm.labels = {str(key): str(value) for key, value in (body.get("labels") or {}).items()}
        return self._at_once("setLabels", vm, query, now)

    # -- what happens to it from outside

    def preempt(self, now: datetime, vm: Vm) -> None:
        """Google reclaims a spot VM: stopped or deleted, as it was asked to be."""
        self._halt(vm)
        is_deleted = (vm.body.get("scheduling") or {}).get("instanceTerminationAction") == "DELETE"
        end = self._remove if is_deleted else self._stopped
        self._plan(vm, now, self._settings.vm_stop_seconds, lambda when: end(vm, when))

    # -- the course of a VM

    def _plan(self, vm: Vm, now: datetime, seconds: float, act: Callable[[datetime], None]) -> None:
        turn = vm.turn

        def due(when: datetime) -> None:
            if vm.turn == turn:
                act(when)

        self._core.after(now, seconds, due)

    def _run(self, vm: Vm, when: datetime) -> None:
        self._next_address += 1
        vm.status, vm.started_at = "RUNNING", when
        vm.address = f"203.0.113.{self._next_address % 250 + 1}"
        self.ledger.set_rate("vm", vm.id, vm.price, when)

    def _halt(self, vm: Vm) -> None:
        vm.turn += 1
        _become(vm, "STOPPING")

    def _stopped(self, vm: Vm, when: datetime) -> None:
        """Its disk is still paid for; its address is gone."""
        vm.status, vm.stopped_at, vm.address = "TERMINATED", when, None
        self.ledger.set_rate("vm", vm.id, 0.0, when)

    def _remove(self, vm: Vm, when: datetime) -> None:
        self.vms.pop((vm.zone, vm.name), None)
        vm.turn += 1
        for kind in ("vm", "disk"):
            self.ledger.set_rate(kind, vm.id, 0.0, when)

    # -- operations

    def _asked_before(self, query: Mapping[str, str], now: datetime) -> Answer | None:
        """The same request again is the same operation."""
        request = query.get("requestId")
        if request is None:
            return None
        if not UUID.fullmatch(request) or request == _ZERO_UUID:
            return error_body(400, "invalid", f"Invalid value for field 'requestId': '{request}'.")
        known = self._by_request.get(request.lower())
        return None if known is None else Answer(operation_row(known))

    def _begin(self, kind: str, vm: Vm, query: Mapping[str, str], now: datetime, seconds: float) -> Operation:
        request = query.get("requestId")
        operation = Operation(self._next_operation, kind, vm, request, now, now + timedelta(seconds=seconds))
        self._next_operation += 1
        self.operations[operation.name] = operation
        if request is not None:
            self._by_request[request.lower()] = operation
        return operation

    def _at_once(self, kind: str, vm: Vm, query: Mapping[str, str], now: datetime) -> Answer:
        operation = self._begin(kind, vm, query, now, 0.0)
        _end(operation, now)
        return Answer(operation_row(operation))

    # -- refusals

    def _unfit(self, zone: str, body: Any) -> Answer | None:
        if not isinstance(body, Mapping) or not NAME.fullmatch(str(body.get("name") or "")):
            return error_body(400, "invalid", "Invalid value for field 'resource.name'.")
        kind = str(body.get("machineType") or "")
        if f"zones/{zone}/machineTypes/" not in kind:
            return error_body(400, "invalid", f"Invalid value for field 'resource.machineType': '{kind}'.")
        if not body.get("disks"):
            return error_body(
                400, "required", "Invalid value for field 'resource.disks': ''. Boot disk must be specified."
            )
        return None

    def _refusal(self, vm: Vm) -> Mapping[str, Any] | None:
        region = vm.zone.rpartition("-")[0]
        quota = self.quotas.get(region)
        if quota is not None and sum(one.zone.startswith(f"{region}-") for one in self.vms.values()) >= quota:
            return over_quota(region, quota)
        return self._stockout(vm)

    def _stockout(self, vm: Vm) -> Mapping[str, Any] | None:
        code = self.exhausted.get(vm.zone)
        if code is None:
            return None
        return stockout(vm, code)


def show(vm: Vm) -> Answer:
    return Answer(instance_row(vm))


def _become(vm: Vm, status: str) -> None:
    vm.status = status


def _end(operation: Operation, when: datetime, error: Mapping[str, Any] | None = None) -> None:
    operation.status, operation.ended_at, operation.error = "DONE", when, error
