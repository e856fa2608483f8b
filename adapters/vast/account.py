"""The account behind the key: whether the key still opens it, its credit, and the SSH keys that new rentals get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.vast.client import VastApi
from adapters.vast.rental import refusal
from adapters.vast.replies import Kind
from adapters.vast.rows import number
from adapters.vast.settings import ACCOUNT, ADD_SSH_KEY, SPEND_RATE, SSH_KEYS
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


async def pays_for_rentals(api: VastApi) -> bool:
    """The second source on an empty list: a rental, also a stopped one, is billed (facts/vast-api.md, section 10).

    False too where the key may not ask or the answer names no costs, for the account itself has answered by then.
    """
    reply = await api.call(SPEND_RATE)
    costs = (number(reply.fields, key) for key in ("gpu_cost_per_hour", "container_storage_cost_per_hour"))
    return reply.kind is Kind.OK and any(cost for cost in costs)


async def ensure_ssh_key(api: VastApi, public_key: str) -> None:
    """Put our public key into the account; keys apply when a container is created (facts/vast-api.md, section 8)."""
    if await _has_key(api, public_key):
        return
    reply = await api.call(ADD_SSH_KEY, body={"ssh_key": public_key.strip()})
    # A repeated POST answers success:false, so a no is checked by reading before it is believed.
    if reply.kind is not Kind.OK and not await _has_key(api, public_key):
        raise refusal(reply)


async def _has_key(api: VastApi, public_key: str) -> bool:
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
