"""Compute Engine's answers as its API writes them: instances, operations, lists, errors (facts/real-servers.md, 1.4)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adapters.sim.answers import Answer

if TYPE_CHECKING:
    from adapters.sim.compute import Operation, Vm

ROOT = "https://www.googleapis.com/compute/v1"


def instance_row(vm: Vm) -> dict[str, Any]:
    zone = f"{ROOT}/projects/{vm.project}/zones/{vm.zone}"
    row: dict[str, Any] = {
        **vm.body,
        "kind": "compute#instance",
        "id": str(vm.id),
        "creationTimestamp": _time(vm.created_at),
        "machineType": f"{ROOT}/projects/{vm.project}/{vm.body['machineType']}",
        "status": vm.status,
        "zone": zone,
        "selfLink": f"{zone}/instances/{vm.name}",
        "labels": dict(vm.labels),
        "labelFingerprint": vm.fingerprint,
        "fingerprint": fingerprint_of({"status": vm.status, "turn": str(vm.turn)}),
        "networkInterfaces": [_interface(vm, one) for one in vm.body.get("networkInterfaces") or ()],
    }
    if vm.started_at is not None:
        row["lastStartTimestamp"] = _time(vm.started_at)
    if vm.stopped_at is not None:
        row["lastStopTimestamp"] = _time(vm.stopped_at)
    if not vm.labels:
        del row["labels"]
    return row


def _interface(vm: Vm, interface: Mapping[str, Any]) -> dict[str, Any]:
    """The public address goes away at a stop, and is another one after each start."""
    access = [dict(one) for one in interface.get("accessConfigs") or ()]
    for one in access:
        if vm.address is not None:
            one["natIP"] = vm.address
    return {
        **interface,
        "name": "nic0",
        "networkIP": f"10.0.0.{vm.id % 250 + 2}",
        **({"accessConfigs": access} if access else {}),
    }


def operation_row(operation: Operation) -> dict[str, Any]:
    vm = operation.vm
    zone = f"{ROOT}/projects/{vm.project}/zones/{vm.zone}"
    row: dict[str, Any] = {
        "kind": "compute#operation",
        "id": str(operation.number),
        "name": operation.name,
        "zone": zone,
        "operationType": operation.kind,
        "targetLink": f"{zone}/instances/{vm.name}",
        "targetId": str(vm.id),
        "status": operation.status,
        "progress": 100 if operation.status == "DONE" else 0,
        "user": "owner@example.com",
        "insertTime": _time(operation.inserted_at),
        "startTime": _time(operation.inserted_at),
        "selfLink": f"{zone}/operations/{operation.name}",
    }
    if operation.request_id is not None:
        row["clientOperationId"] = operation.request_id
    if operation.ended_at is not None:
        row["endTime"] = _time(operation.ended_at)
    if operation.error is not None:
        row["error"] = {"errors": [dict(operation.error)]}
        row["httpErrorStatusCode"] = 403 if "QUOTA" in operation.error["code"] else 503
        row["httpErrorMessage"] = "FORBIDDEN" if "QUOTA" in operation.error["code"] else "SERVICE UNAVAILABLE"
    return row


def list_row(project: str, zone: str, rows: list[dict[str, Any]], token: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": "compute#instanceList",
        "id": f"projects/{project}/zones/{zone}/instances",
        "selfLink": f"{ROOT}/projects/{project}/zones/{zone}/instances",
    }
    if rows:
        body["items"] = rows
    return body if token is None else {**body, "nextPageToken": token}


def aggregated_row(
    project: str, zones: tuple[str, ...], rows: list[dict[str, Any]], token: str | None
) -> dict[str, Any]:
    """Each zone has its part; one without VMs says so as a warning."""
    items: dict[str, Any] = {}
    for zone in zones:
        found = [row for row in rows if row["zone"].endswith(f"/{zone}")]
        scope = f"zones/{zone}"
        items[scope] = {"instances": found} if found else {"warning": _nothing_in(scope)}
    body: dict[str, Any] = {
        "kind": "compute#instanceAggregatedList",
        "id": f"projects/{project}/aggregated/instances",
        "selfLink": f"{ROOT}/projects/{project}/aggregated/instances",
        "items": items,
    }
    return body if token is None else {**body, "nextPageToken": token}


def _nothing_in(scope: str) -> dict[str, Any]:
    text = f"There are no results for scope '{scope}' on this page."
    return {"code": "NO_RESULTS_ON_PAGE", "message": text, "data": [{"key": "scope", "value": scope}]}


UNREACHABLE = {"code": "UNREACHABLE", "message": "Some resources could not be reached.", "data": []}


_REASONS = {401: "authError", 403: "forbidden", 404: "notFound", 429: "rateLimitExceeded", 503: "backendError"}


def error_body(status: int, reason: str, message: str) -> Answer:
    error = {"code": status, "message": message}
    return Answer({"error": {**error, "errors": [{"message": message, "domain": "global", "reason": reason}]}}, status)


def any_error(status: int) -> Answer:
    return error_body(status, _REASONS.get(status, "internalError"), f"Something went wrong on the server ({status})")


def not_found(project: str, zone: str, what: str) -> Answer:
    return error_body(404, "notFound", f"The resource 'projects/{project}/zones/{zone}/{what}' was not found")


def not_ready(vm: Vm) -> Answer:
    resource = f"projects/{vm.project}/zones/{vm.zone}/instances/{vm.name}"
    return error_body(400, "resourceNotReady", f"The resource '{resource}' is not ready")


def over_quota(region: str, quota: int) -> Mapping[str, Any]:
    details = {
        "metricName": "compute.googleapis.com/instances",
        "limitName": "INSTANCES-per-project-region",
        "dimensions": {"region": region},
        "limit": float(quota),
    }
    text = f"Quota 'INSTANCES' exceeded.  Limit: {float(quota)} in region {region}."
    return {"code": "QUOTA_EXCEEDED", "message": text, "errorDetails": [{"quotaInfo": details}]}


def stockout(vm: Vm, code: str) -> Mapping[str, Any]:
    """What the operation of a zone without capacity ends with."""
    info = {
        "reason": "resource_availability",
        "domain": "compute.googleapis.com",
        "metadatas": {"vmType": str(vm.body["machineType"]).rpartition("/")[2]},
    }
    zone = f"projects/{vm.project}/zones/{vm.zone}"
    text = f"The zone '{zone}' does not have enough resources available to fulfill the request."
    return {"code": code, "message": text, "errorDetails": [{"errorInfo": info}]}


def fingerprint_of(labels: Mapping[str, str]) -> str:
    text = json.dumps(dict(labels), sort_keys=True).encode()
    return base64.b64encode(hashlib.blake2b(text, digest_size=8).digest()).decode()


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def region_row(project: str, region: str, used: int, quota: int) -> dict[str, Any]:
    return {
        "kind": "compute#region",
        "name": region,
        "status": "UP",
        "selfLink": f"https://www.googleapis.com/compute/v1/projects/{project}/regions/{region}",
        "quotas": [{"metric": "INSTANCES", "limit": float(quota), "usage": float(used)}],
    }


def no_region(project: str, region: str) -> Answer:
    return error_body(404, "notFound", f"The resource 'projects/{project}/regions/{region}' was not found")
