"""VastCloud's other calls: start, stop, reboot, show, the account and its SSH keys."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.vast import KeyDead
from machines.errors import NotYet, Refused, Unknown
from machines.model import InstanceId, Label
from tests.test_vast_provider import ACCOUNT, DEAD_KEY, DONE, LIST, OWNER, Answer, Provider, absent, page, row, virtual

CHANGE_7 = "PUT /api/v0/instances/7/"
SHOW_7 = "GET /api/v0/instances/7/"
OTHER = row(99, label="somebody else")

QUEUED: Answer = (200, {"success": False, "error": "resources_unavailable", "msg": "state change queued."})


@virtual
async def test_a_queued_start_is_cancelled_and_refused() -> None:
    provider = Provider()
    provider.on(CHANGE_7, QUEUED, DONE)
    with pytest.raises(Refused) as no:
        await provider.cloud().start(InstanceId(7))
    assert no.value.code == "standby_gpu_taken"
    assert provider.bodies(CHANGE_7) == [{"state": "running"}, {"state": "stopped"}]


@virtual
async def test_a_queued_start_that_cannot_be_cancelled_is_unknown() -> None:
    provider = Provider()
    provider.on(CHANGE_7, QUEUED, (500, ""))
    with pytest.raises(Unknown):
        await provider.cloud().start(InstanceId(7))


@virtual
async def test_stopping_what_is_provably_gone_is_success() -> None:
    provider = Provider()
    cloud = provider.cloud()
    await asyncio.sleep(20)
    provider.on(CHANGE_7, absent(7))
    provider.on(LIST, page(row(7)), page(OTHER))
    with pytest.raises(NotYet):
        await cloud.stop(InstanceId(7))
    await cloud.stop(InstanceId(7))


@virtual
async def test_a_reboot_of_a_container_that_does_not_run_is_refused() -> None:
    provider = Provider()
    message = "Invalid instance id. Is the container started?"
    provider.on("PUT /api/v0/instances/reboot/7/", (200, {"success": False, "error": "invalid_id", "msg": message}))
    with pytest.raises(Refused, match="Is the container started"):
        await provider.cloud().reboot(InstanceId(7))


@virtual
async def test_a_null_is_no_rental_and_a_missing_one_needs_a_living_key() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(SHOW_7, (200, {"instances": None}))
    assert await cloud.show(InstanceId(7)) is None
    provider.on(SHOW_7, absent(7))
    provider.on(ACCOUNT, OWNER)
    assert await cloud.show(InstanceId(7)) is None
    provider.on(ACCOUNT, DEAD_KEY)
    with pytest.raises(KeyDead):
        await cloud.show(InstanceId(7))


@pytest.mark.parametrize(
    "answer", [(200, {}), (200, {"instances": []}), (200, {"instances": {}}), (400, "no"), (404, "")]
)
def test_what_does_not_show_an_instance_is_unknown(answer: Any) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        provider.on(SHOW_7, answer)
        with pytest.raises(Unknown):
            await provider.cloud().show(InstanceId(7))

    story()


KEY = "ssh-ed25519 AAAAC3Nza failoverd"
KEYS, ADD = "GET /api/v0/ssh/", "POST /api/v0/ssh/"


@virtual
async def test_our_ssh_key_is_put_into_the_account_once() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(KEYS, (404, {"success": False, "error": "not_found"}), (200, [{"id": 1, "public_key": KEY + "@x"}]))
    provider.on(ADD, DONE)
    await cloud.ensure_ssh_key(KEY + "\n")
    await cloud.ensure_ssh_key(KEY)
    assert provider.bodies(ADD) == [{"ssh_key": KEY}]


@virtual
async def test_a_key_that_somebody_else_just_added_is_no_failure() -> None:
    provider = Provider()
    cloud = provider.cloud()
    already = (200, {"success": False, "error": "invalid_args", "msg": "ssh_key already exists"})
    provider.on(ADD, already)
    provider.on(KEYS, (200, []), (200, [{"key": KEY}]))
    await cloud.ensure_ssh_key(KEY)
    provider.on(KEYS, (200, [{"key": "ssh-ed25519 BBBB other"}]))
    with pytest.raises(Refused):
        await cloud.ensure_ssh_key(KEY)


@virtual
async def test_a_dead_key_is_not_an_account_without_ssh_keys() -> None:
    provider = Provider()
    provider.on(KEYS, DEAD_KEY)
    with pytest.raises(KeyDead):
        await provider.cloud().ensure_ssh_key(KEY)


@virtual
async def test_the_account_tells_its_credit() -> None:
    provider = Provider()
    provider.on(ACCOUNT, OWNER)
    account = await provider.cloud().account()
    assert (account.id, account.credit) == (4711, 12.5)


@virtual
async def test_a_label_is_changed() -> None:
    provider = Provider()
    provider.on(CHANGE_7, DONE, (400, {"success": False, "error": "invalid_args", "msg": "label_too_long"}))
    cloud = provider.cloud()
    await cloud.label(InstanceId(7), Label("x"))
    with pytest.raises(Refused, match="label_too_long"):
        await cloud.label(InstanceId(7), Label("x" * 2000))
