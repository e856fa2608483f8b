"""VastVolumes: the port VolumeStore over Vast's volumes, which are bound to one host (facts/vast-api.md, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta

from adapters.vast.client import VastApi
from adapters.vast.rental import refusal
from adapters.vast.replies import Kind
from adapters.vast.rows import BadRow, number, whole
from adapters.vast.settings import DELETE_VOLUME, LIST_VOLUMES
from machines.errors import NotYet, Unknown
from machines.model import HostId, InstanceId, Volume, VolumeId
from machines.ports import Clock

_RELEASE_AGAIN = timedelta(seconds=15)


@dataclass(slots=True)
class _Reading:
    """What the provider showed last; shared by all who act on somebody's behalf."""

    volumes: Mapping[VolumeId, Volume] = field(default_factory=dict)
    at: float = float("-inf")


class VastVolumes:
    """There is no read of a single volume, so the list is read and shared for as long as the caller allows."""

    def __init__(self, api: VastApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._last = _Reading()

    def on_behalf_of(self, may_send: Callable[[], None]) -> VastVolumes:
        """As `VastCloud.on_behalf_of`."""
        view = copy(self)
        view._api = self._api.on_behalf_of(may_send)
        return view

    async def volumes(self, max_age_s: float = 0.0) -> Mapping[VolumeId, Volume]:
        """Raise Unknown where the list did not come whole: a volume that it lacks is not gone by that."""
        if max_age_s > 0 and self._clock.monotonic() - self._last.at <= max_age_s:
            return self._last.volumes
        asked_at = self._clock.monotonic()
        reply = await self._api.call(LIST_VOLUMES, query={"owner": "me", "type": "all_volume"})
        rows = reply.fields.get("volumes")
        if reply.kind is not Kind.OK or not isinstance(rows, list):
            raise Unknown(f"the volumes were not shown: {reply}")
        try:
            found = [_volume_from(row) for row in rows]
        except BadRow as error:
            raise Unknown(f"a volume was shown in a form that we cannot read: {error}") from error
        self._last.volumes, self._last.at = {volume.id: volume for volume in found}, asked_at
        return self._last.volumes

    async def delete(self, volume: VolumeId) -> None:
        """Refused by the provider while an instance has it, running or stopped, and for about 30 s after."""
        reply = await self._api.call(DELETE_VOLUME, body={}, query={"id": str(volume)})
        if reply.status == 409:
            raise NotYet(f"volume {volume} is still in use", _RELEASE_AGAIN)
        if reply.kind is Kind.OK:
            return
        if volume in await self.volumes():
            raise refusal(reply)


def _volume_from(row: object) -> Volume:
    if not isinstance(row, dict):
        raise BadRow(f"a volume row is a {type(row).__name__}")
    holders = row.get("instances")
    ids = holders if isinstance(holders, list) else []
    return Volume(
        VolumeId(whole(row, "id")),
        HostId(whole(row, "machine_id")),
        number(row, "disk_space") or 0.0,
        tuple(InstanceId(int(one)) for one in ids if isinstance(one, int) and not isinstance(one, bool)),
    )
