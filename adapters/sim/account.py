"""The account: its SSH keys, and the keys of its instances (facts/vast-api.md 7 and 8)."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from adapters.sim.answers import Answer, failure, success
from adapters.sim.bills import Ledger
from adapters.sim.instances import Instance

USER_ID = 4711


class Account:
    """One account. Account keys apply when a container is created, instance keys at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._keys: dict[int, str] = {}
        self._next_id = 300

    def public_keys(self) -> list[str]:
        return list(self._keys.values())

    def current(self, now: datetime) -> Answer:
        balance = self._ledger.balance(now)
        return Answer(
            {
                "id": USER_ID,
                "email": "owner@example.com",
                "username": "owner",
                "credit": balance,
                "balance": 0.0,
                "host_agreement_accepted": False,
                "ssh_key": next(iter(self._keys.values()), None),
            }
        )

    def spend_rate(self) -> Answer:
        rates = {kind: self._ledger.sum_of_rates(kind) for kind in ("gpu", "storage", "volume")}
        return success(
            gpu_cost_per_hour=rates["gpu"],
            container_storage_cost_per_hour=rates["storage"],
            volume_storage_cost_per_hour=rates["volume"],
            has_active_resources=any(rates.values()),
        )

    def list_keys(self) -> Answer:
        """A bare array, and 404 where there is none (FIELD)."""
        if not self._keys:
            return failure(404, "not_found", "No SSH keys found.")
        return Answer([self._key_row(key_id) for key_id in self._keys])

    def add_key(self, body: Mapping[str, Any]) -> Answer:
        text = str(body.get("ssh_key") or "").strip()
        if not text:
            return failure(400, "invalid_args", "ssh_key is required")
        if text in self._keys.values():
            return failure(200, "invalid_args", "ssh_key already exists")
        self._next_id += 1
        self._keys[self._next_id] = text
        return success(key=self._key_row(self._next_id))

    def change_key(self, key_id: int, body: Mapping[str, Any]) -> Answer:
        if key_id not in self._keys:
            return failure(404, "not_found", "SSH key not found.")
        self._keys[key_id] = str(body.get("ssh_key") or "").strip()
        return success(key=self._key_row(key_id))

    def delete_key(self, key_id: int) -> Answer:
        if self._keys.pop(key_id, None) is None:
            return failure(404, "not_found", "SSH key not found.")
        return success()

    def _key_row(self, key_id: int) -> dict[str, Any]:
        text = self._keys[key_id]
        return {"id": key_id, "user_id": USER_ID, "key": text, "public_key": text, "ssh_key": text, "deleted_at": None}


def list_instance_keys(instance: Instance) -> Answer:
    """The keys come as a JSON *string* (FIELD)."""
    keys = [{"id": number, "public_key": key} for number, key in enumerate(instance.authorized_keys, 1)]
    return success(ssh_keys=json.dumps(keys))


def attach_key(instance: Instance, body: Mapping[str, Any]) -> Answer:
    text = str(body.get("ssh_key") or "").strip()
    if not text:
        return failure(400, "invalid_args", "ssh_key is required")
    if text in instance.authorized_keys:
        return failure(200, "invalid_args", "SSH key is already attached.")
    instance.authorized_keys.append(text)
    return success(msg="SSH key added to instance.")


def detach_key(instance: Instance, key_id: int) -> Answer:
    if not 1 <= key_id <= len(instance.authorized_keys):
        return failure(404, "not_found", "SSH key not found.")
    del instance.authorized_keys[key_id - 1]
    return success()
