"""How machines get into the store of snapshots: with the configured key, or on B2 with keys of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from adapters.restic import Way
from machines.errors import Refused
from machines.model import InstanceId, MachineId
from machines.ports import Clock
from machines.snapshots import Drawer, Place, repository_password

_READ_KEY_LIVES_S = 24 * 3600
_READ_KEY_SERVES_S = 12 * 3600.0
"""Then a restore that still goes on is given a new one."""
_MOST_READING = 1024
"""Of the ways that are remembered; one that is forgotten still leads in until its key dies."""


@dataclass(frozen=True, slots=True)
class WriteWay:
    """How an instance writes its machine's snapshots; `key` is the id of a key of its own, where it was given one."""

    way: Way
    key: str | None = None


class Keys(Protocol):
    """Who makes and revokes access keys; `adapters.b2.B2Objects` fits."""

    async def s3_door(self) -> str: ...
    async def write_key(self, name: str, prefix: str) -> Key: ...
    async def read_key(self, name: str, prefix: str, lives_s: int) -> Key: ...
    async def revoke(self, key: str) -> None: ...


class Key(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def secret(self) -> str: ...


class ConfiguredWays:
    """Every machine has the same key; a second one that only reads may be named for restores."""

    has_keys = False

    def __init__(self, write: Place, read: Place, password: str) -> None:
        self._write, self._read, self._password = write, read, password

    def plan(self, machine: MachineId) -> Way:
        """What `to_write` will say, but for keys that are made for one instance."""
        return Way(self._write, repository_password(self._password, machine))

    async def to_write(self, machine: MachineId, fence: int) -> WriteWay:
        return WriteWay(self.plan(machine))

    async def to_read(self, machine: MachineId, instance: InstanceId) -> Way:
        return Way(self._read, repository_password(self._password, machine))

    async def revoke(self, key: str) -> None:
        """This store gives none out: the key is of one that was configured before, and a person must know."""
        raise Refused("provider_unavailable", f"key {key} was given out by another store: delete it there by hand")


class OwnKeyWays:
    """Each instance has a key for its machine's part of the bucket alone: one that writes and destroys nothing while it is
    the machine, and for a restore one that only reads and soon dies by itself."""

    has_keys = True

    def __init__(self, keys: Keys, place: Place, password: str, deployment: str, clock: Clock) -> None:
        """`place` without a key and without an endpoint: both come from the provider."""
        self._keys, self._place, self._password = keys, place, password
        self._deployment, self._clock = deployment, clock
        self._reading: dict[tuple[MachineId, InstanceId], tuple[float, Way]] = {}
        """Candidates of one machine race, and each has its own; until when, monotonic. The oldest is first."""

    def plan(self, machine: MachineId) -> Way:
        return Way(self._place, repository_password(self._password, machine))

    async def to_write(self, machine: MachineId, fence: int) -> WriteWay:
        key = await self._keys.write_key(f"{self._deployment}-m{machine}-f{fence}-write", Drawer(machine).root)
        return WriteWay(await self._with(machine, key), key.id)

    async def to_read(self, machine: MachineId, instance: InstanceId) -> Way:
        """The same for all steps of one restore."""
        now = self._clock.monotonic()
        self._reading = {who: known for who, known in self._reading.items() if now < known[0]}
        known = self._reading.get((machine, instance))
        if known is not None:
            return known[1]
        name = f"{self._deployment}-m{machine}-i{instance}-read"
        key = await self._keys.read_key(name, Drawer(machine).root, _READ_KEY_LIVES_S)
        way = await self._with(machine, key)
        while len(self._reading) >= _MOST_READING:
            del self._reading[next(iter(self._reading))]
        self._reading[machine, instance] = (self._clock.monotonic() + _READ_KEY_SERVES_S, way)
        return way

    async def revoke(self, key: str) -> None:
        await self._keys.revoke(key)

    async def _with(self, machine: MachineId, key: Key) -> Way:
        endpoint = self._place.endpoint or await self._keys.s3_door()
        place = msgspec.structs.replace(self._place, endpoint=endpoint, key_id=key.id, secret=key.secret)
        return Way(place, repository_password(self._password, machine))


Ways = ConfiguredWays | OwnKeyWays
