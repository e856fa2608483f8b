"""The port CpuCloud over Compute Engine v1.

A mutating call is answered by an operation, whose end is waited for here; what it did is read back by a single read, which
alone proves that a VM is there or not (facts/real-servers.md, section 1.2). VMs are changed by their id, so that one that
was made again under the name is never met.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

import structlog

from adapters.gce.replies import message_of, of_operation, of_status, reason_of
from adapters.gce.rows import resource_of, vm_from
from adapters.gce.settings import GceSettings
from adapters.gce.wire import ComputeWire, Json
from machines.cpu_vm import MISCONFIGURED, ZONE_EXHAUSTED, CpuVm, VmClaim, VmId, VmListing, VmPlace, VmStatus, Zone
from machines.errors import NotYet, Refused, Unknown
from machines.ports import Clock

log = structlog.get_logger(__name__)

_LOOK_AGAIN = timedelta(seconds=5)
_WAIT_AGAIN = timedelta(seconds=2)
_QUIET = ("NO_RESULTS_ON_PAGE",)
"""A zone without VMs says so as a warning; every other warning means that something may be missing."""
_MOST_PAGES = 200


class GceCloud:
    """The VMs of the configured project, and those that were made in one before it."""

    def __init__(self, wire: ComputeWire, clock: Clock, settings: GceSettings) -> None:
        self._wire = wire
        self._clock = clock
        self._settings = settings

    @property
    def project(self) -> str:
        return self._settings.project

    def next_zone(self, wanted: Zone | None, tried: Collection[Zone]) -> Zone | None:
        order = (wanted, *self._settings.zones) if wanted is not None else self._settings.zones
        return next((zone for zone in order if zone not in tried), None)

    async def insert(self, claim: VmClaim) -> CpuVm:
        place = claim.place
        found = await self.get(place)
        if found is None:
            request = {"requestId": place.request_id} if place.request_id else {}
            resource = resource_of(claim, self._settings)
            status, body = await self._ask("insert", self._where(place), request, resource)
            if status == 409:
                raise NotYet(f"{place.name} exists, and is not shown yet", _LOOK_AGAIN)
            await self._finish(self._where(place), _accepted(status, body))
            found = await self.get(place)
        if found is None:
            raise Refused(ZONE_EXHAUSTED, f"{place.name} vanished right after it was made in {place.zone}")
        if found.status not in (VmStatus.RUNNING, VmStatus.STOPPED):
            raise NotYet(f"{place.name} reads {found.word}", _LOOK_AGAIN)
        return found

    async def get(self, place: VmPlace) -> CpuVm | None:
        status, body = await self._ask("get", {**self._where(place), "instance": place.name}, {}, None)
        if status == 404:
            if f"/instances/{place.name}'" in message_of(body):
                return None
            raise Refused(MISCONFIGURED, f"HTTP 404 {reason_of(body)}: {message_of(body)}"[:500])
        if status != 200:
            raise of_status(status, body)
        found = vm_from(body, place.project or self.project)
        return found if place.id in (None, found.id) else None

    async def list(self, label: str) -> VmListing:
        at, vms, complete = self._clock.now(), dict[VmId, CpuVm](), True
        query = {"filter": f"labels.{label}:*"}
        for _ in range(_MOST_PAGES):
            status, body = await self._ask("aggregatedList", {"project": self.project}, query, None)
            if status != 200:
                raise of_status(status, body)
            complete = complete and not _warns(body)
            for scope in (body.get("items") or {}).values():
                rows = scope.get("instances") or ()
                found = [vm for row in rows if (vm := self._readable(row)) is not None]
                complete = complete and not _warns(scope) and len(found) == len(rows)
                vms.update((vm.id, vm) for vm in found)
            token = body.get("nextPageToken")
            if not token:
                return VmListing(vms, complete, at)
            query = {**query, "pageToken": str(token)}
        return VmListing(vms, False, at)

    def _readable(self, row: Json) -> CpuVm | None:
        """None for a row that cannot be read: the others are looked after all the same."""
        try:
            return vm_from(row, self.project)
        except Unknown as error:
            log.info("cpu_vm_not_readable", because=error.why)
            return None

    async def start(self, vm: VmPlace, request_id: str) -> CpuVm:
        shown = await self._shown(vm)
        if shown.status is VmStatus.STOPPED:
            await self._change("start", shown, request_id)
            shown = await self._shown(vm)
        if shown.status is not VmStatus.RUNNING:
            raise NotYet(f"{vm.name} reads {shown.word}", _LOOK_AGAIN)
        return shown

    async def stop(self, vm: VmPlace, request_id: str) -> CpuVm:
        shown = await self._shown(vm)
        if shown.status in (VmStatus.RUNNING, VmStatus.OTHER):
            await self._change_at_last("stop", shown, request_id)
            shown = await self._shown(vm)
        if shown.status is not VmStatus.STOPPED:
            raise NotYet(f"{vm.name} reads {shown.word}", _LOOK_AGAIN)
        return shown

    async def delete(self, vm: VmPlace, request_id: str) -> None:
        shown = await self.get(vm)
        if shown is None:
            return
        await self._change_at_last("delete", shown, request_id)
        left = await self.get(shown.place)
        if left is not None:
            raise NotYet(f"{vm.name} reads {left.word}", _LOOK_AGAIN)

    async def set_labels(self, vm: CpuVm, labels: Mapping[str, str]) -> None:
        body = {"labelFingerprint": vm.fingerprint, "labels": {**vm.labels, **labels}}
        where = self._where(vm.place)
        status, answer = await self._ask("setLabels", {**where, "instance": str(vm.id)}, {}, body)
        if status == 412:
            raise NotYet(f"the labels of {vm.name} were changed meanwhile", _WAIT_AGAIN)
        await self._finish(where, _accepted(status, answer))

    async def _shown(self, vm: VmPlace) -> CpuVm:
        found = await self.get(vm)
        if found is None:
            raise Refused(MISCONFIGURED, f"{vm.name} (id {vm.id}) does not exist in {vm.zone} any more")
        return found

    async def _change_at_last(self, what: str, vm: CpuVm, request_id: str) -> None:
        """A stop or a delete has no zone to turn to: it is asked for again, however it is refused."""
        try:
            await self._change(what, vm, request_id)
        except Refused as refused:
            raise NotYet(f"{what} of {vm.name} failed: {refused.why}", timedelta(seconds=30)) from refused

    async def _change(self, what: str, vm: CpuVm, request_id: str) -> None:
        where = self._where(vm.place)
        status, body = await self._ask(what, {**where, "instance": str(vm.id)}, {"requestId": request_id}, None)
        if status == 404:
            # Gone meanwhile, perhaps: whoever asked reads it back, and believes only that.
            raise NotYet(f"{what} met no VM with the id {vm.id}", _WAIT_AGAIN)
        await self._finish(where, _accepted(status, body))

    async def _finish(self, where: Mapping[str, str], operation: Json) -> None:
        """Wait for the operation's end, for a while. Raise what it failed with, NotYet while it runs."""
        until = self._clock.monotonic() + self._settings.operation_patience_s
        name = str(operation.get("name") or "")
        while operation.get("status") != "DONE":
            left = until - self._clock.monotonic()
            if left <= 0:
                raise NotYet(f"operation {name} is {operation.get('status')}", _WAIT_AGAIN)
            operation = await self._wait({**where, "operation": name}, left)
            if operation.get("status") != "DONE":
                await self._clock.sleep(1.0)  # The wait is best effort: it may come back at once.
        failed = of_operation(operation)
        if failed is not None:
            raise failed

    async def _wait(self, path: Mapping[str, str], left_s: float) -> Json:
        try:
            status, body = await self._wire.ask("wait", path, {}, None, max(1.0, self._real(left_s)))
        except Unknown:
            raise NotYet(f"operation {path['operation']} has not ended yet", _WAIT_AGAIN) from None
        if status != 200:
            raise of_status(status, body)
        return body

    def _real(self, seconds: float) -> float:
        """Real seconds: no socket becomes faster with a scaled clock."""
        return seconds / self._clock.real(1.0)

    def _where(self, place: VmPlace) -> dict[str, str]:
        return {"project": place.project or self.project, "zone": place.zone}

    async def _ask(
        self, what: str, path: Mapping[str, str], query: Mapping[str, str], body: Any | None
    ) -> tuple[int, Json]:
        return await self._wire.ask(what, path, query, body, self._settings.answer_within_s)


def _accepted(status: int, body: Json) -> Json:
    """The operation that the call began. Raise what the call was refused with."""
    if status != 200:
        raise of_status(status, body)
    if not body.get("name"):
        raise Unknown("the provider's answer names no operation")
    return body


def _warns(body: Json) -> bool:
    warning = body.get("warning") or {}
    return bool(warning) and warning.get("code") not in _QUIET
