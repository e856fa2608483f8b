"""What the doctor asks of the providers: keys, money, quotas, our SSH key; and by their clock, whether ours is right."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from adapters.gce import Quota, read_quotas
from adapters.ssh import AsyncsshShell, KeyUnusable, load_or_create_key
from adapters.system_clock import SystemClock, SystemRandom
from adapters.vast import KeyDead, VastApi, VastSettings, vast_client
from adapters.vast.account import Account, has_ssh_key, read_account, read_spend_rate
from daemon.doctor import AUTH, UNREACHABLE, USAGE, Finding, failed, ok, skipped, unwise
from daemon.setting_parts import compute_wire
from daemon.settings import Gce, Loaded
from machines.errors import Refused, StepError
from machines.ports import Clock

_CLOCK_OFF_S = 5.0
_CLOCK_WRONG_S = 60.0
"""Signatures are refused from five minutes on, and a request takes its time."""


async def check_vast(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    settings = loaded.settings
    if not settings.vast.api_key.get_secret_value().strip():
        return [
            failed(
                "provider",
                "vast.api_key is empty",
                "set FAILOVERD_VAST__API_KEY, or the credential vast__api_key",
                USAGE,
            )
        ]
    client = vast_client(settings.vast.api_key.get_secret_value(), settings.vast.url)
    try:
        return await look_at_vast(client, loaded, clock)
    finally:
        await client.aclose()


async def look_at_vast(client: httpx.AsyncClient, loaded: Loaded, clock: Clock) -> list[Finding]:
    """Reads only."""
    dates: list[tuple[str, datetime]] = []

    async def note_date(answer: httpx.Response) -> None:
        dates.append((answer.headers.get("Date", ""), clock.now()))

    client.event_hooks = {"response": [note_date]}
    found = await _account(VastApi(client, clock, SystemRandom(), VastSettings()), loaded)
    return [*found, *_clock(dates)]


async def _account(api: VastApi, loaded: Loaded) -> list[Finding]:
    url = loaded.settings.vast.url
    try:
        account = await read_account(api)
    except KeyDead:
        remedy = "make a new key in the provider's console, and set FAILOVERD_VAST__API_KEY"
        return [failed("provider", f"{url} does not know the key", remedy, AUTH)]
    except StepError as error:
        return [failed("provider", f"{url}: {error}", "see that it can be reached, and mend vast.url", UNREACHABLE)]
    return [
        ok("provider", f"{url} opens account {account.id} to the key"),
        await _balance(api, account, loaded.settings.policy.credit_hours),
        await _our_key(api, loaded.settings.ssh.key_file or loaded.settings.state_dir / "ssh_key"),
    ]


async def _balance(api: VastApi, account: Account, wanted_hours: float) -> Finding:
    if account.credit is None:
        return unwise("balance", "the provider does not say what is left", "look at it in the provider's console")
    if account.credit <= 0:
        return failed("balance", f"{account.credit:.2f} $: every rental is stopped, then deleted", "pay in")
    try:
        rate = await read_spend_rate(api)
    except StepError as error:
        return unwise("balance", f"{account.credit:.2f} $; what is spent an hour is not known: {error}", "try again")
    told = f"{account.credit:.2f} $ at {rate:.2f} $/h"
    if rate > 0:
        told += f" last {account.credit / rate:.0f} hours"
    if account.credit < rate * wanted_hours:
        missing = rate * wanted_hours - account.credit
        return unwise(
            "balance", f"{told}; policy.credit_hours wants {wanted_hours:g}", f"pay in {missing:.2f} $ or more"
        )
    return ok("balance", told)


async def _our_key(api: VastApi, path: Path) -> Finding:
    name = "key on account"
    try:
        line = await asyncio.to_thread(_public_key, path)
        if line is None:
            return skipped(name, "our SSH key is put there at the first start")
        if await has_ssh_key(api, line):
            return ok(name, "our SSH key is there: what is rented lets us in")
    except KeyUnusable:
        return skipped(name, "our SSH key cannot be read")
    except StepError as error:
        return unwise(name, f"the account's keys were not shown: {error}", "try again")
    return unwise(
        name, "our SSH key is not there", "the daemon puts it there at its start; rentals made before lack it"
    )


def _public_key(path: Path) -> str | None:
    return AsyncsshShell(load_or_create_key(path), SystemClock()).public_key if path.exists() else None


def _clock(dates: Sequence[tuple[str, datetime]]) -> list[Finding]:
    """By the last answer that said its time, to the second."""
    for text, ours in reversed(dates):
        try:
            off_s = (ours - parsedate_to_datetime(text)).total_seconds()
        except (ValueError, TypeError):
            continue
        told = f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} the provider's"
        if abs(off_s) > _CLOCK_WRONG_S:
            return [failed("clock", f"ours is {told}: signatures are refused", "start NTP: timedatectl set-ntp true")]
        if abs(off_s) > _CLOCK_OFF_S:
            return [unwise("clock", f"ours is {told}", "start NTP: timedatectl set-ntp true")]
        return [ok("clock", "ours agrees with the provider's")]
    return [skipped("clock", "no answer of the provider's said its time")]


async def check_gce(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    gce = loaded.settings.gce
    wire = compute_wire(loaded.settings, clock)
    if gce is None or wire is None:
        return [skipped("CPU VMs", "no provider of VMs is configured: nothing serves while a GPU is being rented")]
    found: list[Finding] = []
    try:
        for region in sorted({zone.rpartition("-")[0] for zone in gce.zones}):
            found += _quotas(region, await read_quotas(wire, gce.project, region), gce)
    except Refused as error:
        remedy = "give gce.credentials_file a service account's key that may use Compute Engine in gce.project"
        return [failed("CPU VMs", error.why, remedy, AUTH)]
    except StepError as error:
        return [failed("CPU VMs", str(error), "see that compute.googleapis.com can be reached", UNREACHABLE)]
    finally:
        wire.close()
    return found


def _quotas(region: str, quotas: Sequence[Quota], gce: Gce) -> list[Finding]:
    """Is there room for one more VM of the configured type?"""
    family, _, size = gce.machine_type.partition("-")
    cpus = int(found[-1]) if (found := re.findall(r"\d+", size)) else 2
    needs = {"CPUS": cpus, f"{family.upper()}_CPUS": cpus, "INSTANCES": 1, "SSD_TOTAL_GB": 0, "IN_USE_ADDRESSES": 1}
    tight = [one for one in quotas if one.limit - one.usage < needs.get(one.metric, 0)]
    if tight:
        told = ", ".join(f"{one.metric} {one.usage:g} of {one.limit:g}" for one in tight)
        remedy = f"ask for more of it in the console, or name another zone or a smaller gce.machine_type than {gce.machine_type}"
        return [failed("VM quotas", f"{region} has no room for one more {gce.machine_type}: {told}", remedy)]
    known = [one for one in quotas if needs.get(one.metric)]
    told = ", ".join(f"{one.metric} {one.usage:g} of {one.limit:g}" for one in known)
    return [ok("VM quotas", f"{region} has room for one more {gce.machine_type}" + (f": {told}" if told else ""))]
