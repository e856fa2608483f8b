"""The snapshot store of a simulated world, as an adapter: it asks the world's keeper over the control plane."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx

from machines.errors import NotYet, Refused
from machines.model import Endpoint, InstanceId, MachineId, Snapshot
from machines.ports import RestoreReport

RETRY = timedelta(seconds=5)
SOONEST, LATEST = 1.0, 15.0


class SimSnapshots:
    """`SnapshotStore` over `/sim/snapshots`. Every call may be repeated, so a lost answer is NotYet, never Unknown."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """`http` carries the world's base URL, or an in-process transport to its app."""
        self._http = http

    async def newest(self, machine: MachineId, now: datetime) -> Snapshot | None:
        """The newest verified snapshot."""
        return next(iter(await self.verified(machine, 1)), None)

    async def verified(self, machine: MachineId, limit: int) -> Sequence[Snapshot]:
        rows = (await self._ask("GET", f"/sim/snapshots?machine_id={machine}"))["snapshots"]
        found = [row for row in rows if row["verified"]][:limit]
        return [_snapshot(row, machine) for row in found]

    async def check_download(
        self, snapshot: Snapshot, instance: InstanceId, endpoint: Endpoint, host_key: str | None = None
    ) -> None:
        """Raise Refused where the instance has no outbound bandwidth: one kind of dead boot."""
        if not (await self._ask("GET", f"/sim/instances/{instance}/download"))["ok"]:
            raise Refused("restore_failed", f"instance {instance} cannot fetch from the store")

    async def restore(
        self,
        snapshot: Snapshot,
        instance: InstanceId,
        endpoint: Endpoint,
        workspace_path: str,
        host_key: str | None = None,
    ) -> RestoreReport:
        """Begin or continue; NotYet until the files are in place and equal the manifest."""
        body = {"instance_id": int(instance), "workspace": workspace_path}
        row = await self._ask("POST", f"/sim/snapshots/{snapshot.id}/restore", body, missing="restore_failed")
        match row["state"]:
            case "done":
                return RestoreReport(row["bytes_total"], row["bytes_total"] / max(row["rate"], 1.0), "verified")
            case "failed":
                raise Refused("restore_failed", str(row["why"]))
            case _:
                raise NotYet(f"{row['bytes_done']} of {row['bytes_total']} bytes", _remaining(row))

    async def manifest(self, snapshot: Snapshot) -> Mapping[str, str]:
        """Path in the workspace -> SHA-256 (hex)."""
        manifest: dict[str, str] = await self._ask("GET", f"/sim/snapshots/{snapshot.id}/manifest")
        return manifest

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, missing: str = "no_snapshot"
    ) -> Any:
        try:
            answer = await self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise NotYet(f"the snapshot store did not answer: {error}", RETRY) from error
        if answer.status_code == 200:
            return answer.json()
        why = answer.json().get("msg", answer.text) if "json" in answer.headers.get("content-type", "") else answer.text
        if answer.status_code == 404:
            raise Refused(missing if "snapshot" in why else "restore_failed", why)
        raise NotYet(f"{answer.status_code}: {why}", RETRY)


def _remaining(row: Mapping[str, Any]) -> timedelta:
    left = row["bytes_total"] - row["bytes_done"]
    return timedelta(seconds=min(LATEST, max(SOONEST, left / max(row["rate"], 1.0))))


def _snapshot(row: Mapping[str, Any], machine: MachineId) -> Snapshot:
    taken_at = datetime.fromisoformat(row["taken_at"])
    return Snapshot(id=str(row["id"]), machine=machine, taken_at=taken_at, size_bytes=row["size_bytes"])
