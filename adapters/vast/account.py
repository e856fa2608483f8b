"""The account behind the key: whether the key still opens it, its credit, and the SSH keys that new rentals get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.vast.client import VastApi
from adapters.vast.rental import refusal
from adapters.vast.replies import Kind
from adapters.vast.rows import number
from adapters.vast.settings import ACCOUNT, ADD_SSH_KEY, ATTACH_SSH_KEY, SPEND_RATE, SSH_KEYS
from machines.errors import Unknown


@dataclass(frozen=True, slots=True)
class Account:
    """At zero credit the provider stops every rental at once: that must not look like as many deaths."""

    id: int
    credit: float | None
    """Prepaid dollars; None where the provider does not say."""


async def read_account(api: VastApi) -> Account:
    """Raise KeyDead, or Unknown for anything that is not plainly our account."""
    reply = await api.call(ACCOUNT)
    found = number(reply.fields, "id")
    if reply.kind is not Kind.OK or found is None:
        raise Unknown(f"the account was not shown: {reply}")
    return Account(int(found), number(reply.fields, "credit"))


async def read_spend_rate(api: VastApi) -> float:
    """$/h of everything that is billed now. Raise KeyDead, or Unknown where it was not told."""
    reply = await api.call(SPEND_RATE)
    costs = [number(reply.fields, key) for key in _COSTS]
    if reply.kind is not Kind.OK or all(cost is None for cost in costs):
        raise Unknown(f"the account's spend rate was not shown: {reply}")
    return sum(cost or 0.0 for cost in costs)


_COSTS = ("gpu_cost_per_hour", "container_storage_cost_per_hour", "volume_storage_cost_per_hour")


async def pays_for_rentals(api: VastApi) -> bool:
    """The second source on an empty list: a rental, also a stopped one, is billed (facts/vast-api.md, section 10).

    False too where the key may not ask or the answer names no costs, for the account itself has answered by then.
    """
    reply = await api.call(SPEND_RATE)
    costs = (number(reply.fields, key) for key in _COSTS[:2])
    return reply.kind is Kind.OK and any(cost for cost in costs)


async def volume_spend(api: VastApi) -> float:
    """$/h that the account pays for its volumes: none that are on offline hosts (facts/vast-api.md, section 10). Raise
    Unknown where it is not told."""
    reply = await api.call(SPEND_RATE)
    cost = number(reply.fields, "volume_storage_cost_per_hour")
    if reply.kind is not Kind.OK or cost is None:
        raise Unknown(f"what the volumes cost was not told: {reply}")
    return cost


async def ensure_ssh_key(api: VastApi, public_key: str) -> None:
    """Put our public key into the account; keys apply when a container is created (facts/vast-api.md, section 8)."""
    if await has_ssh_key(api, public_key):
        return
    reply = await api.call(ADD_SSH_KEY, body={"ssh_key": public_key.strip()})
    # A repeated POST answers success:false, so a no is checked by reading before it is believed.
    if reply.kind is not Kind.OK and not await has_ssh_key(api, public_key):
        raise refusal(reply)


async def attach_ssh_key(api: VastApi, instance: int, public_key: str) -> None:
    """Put our public key into one instance that was made without it. A repeated POST answers success:false (section 8)."""
    reply = await api.call(ATTACH_SSH_KEY, instance, {"ssh_key": public_key.strip()})
    if reply.kind is not Kind.OK and reply.status != 200:
        raise Unknown(f"our SSH key was not put into instance {instance}: {reply}")


async def has_ssh_key(api: VastApi, public_key: str) -> bool:
    reply = await api.call(SSH_KEYS)
    if reply.status == 404:  # No key yet; a dead key was told apart before.
        return False
    rows = reply.body if isinstance(reply.body, list) else reply.fields.get("ssh_keys")
    if reply.kind is not Kind.OK or not isinstance(rows, list):
        raise Unknown(f"the account's SSH keys were not shown: {reply}")
    wanted = public_key.split()[:2]
    return any(text.split()[:2] == wanted for row in rows for text in _texts(row))


def _texts(row: object) -> tuple[str, ...]:
    values = tuple(row.values()) if isinstance(row, Mapping) else (row,)
    return tuple(value for value in values if isinstance(value, str))
