"""A failover on paper: what it would do and whether it would succeed, by reads alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from daemon.api.services import Services
from daemon.asked import setting_named
from machines.admission import FailoverRequest, refusal
from machines.model import InstanceId, Machine, Reason, Rung, Setting
from machines.pool import pool_of
from machines.readiness import Readiness
from machines.strategies.ladder import ladder
from machines.strategies.prepared_pool import prepared_of

MESSAGE = "Use dry_run=False para executar o failover real"
"""The contract's own words."""


async def dry_run(services: Services, machine: Machine, instance: int, strategy: str | None) -> dict[str, Any]:
    """The contract's answer to a test, with the plan and, where it would not succeed, the reason."""
    forced = setting_named(strategy, "strategy")
    setting = forced or machine.setting
    readiness = replace(await services.readiness.readiness(machine, False), setting=setting)
    plan = await services.readiness.plan(machine, setting) | await _pool(services, machine, readiness)
    request = FailoverRequest(Reason.DRILL, forced, InstanceId(instance))
    code, reason = obstacle(machine, request, readiness, plan) or (None, None)
    return {
        "dry_run": True,
        "would_succeed": reason is None,
        "readiness": {
            "warm_pool_ready": readiness.warm_pool_ready,
            "cpu_standby_ready": readiness.cpu_standby_ready,
            "overall_ready": readiness.overall_ready,
            "checked_at": readiness.checked_at.isoformat() if readiness.checked_at else None,
        },
        "message": MESSAGE,
        "machine_id": machine.id,
        "strategy": setting.value,
        "reason": reason,
        "code": code,
        "plan": plan,
    }


async def _pool(services: Services, machine: Machine, readiness: Readiness) -> dict[str, Any]:
    """How the warm pool stands, where the strategy has one."""
    if Rung.WARM_POOL not in ladder(readiness.setting):
        return {}
    pool = pool_of(machine, readiness, await services.store.transact(lambda tx: tx.open_debts(machine.id)))
    return {"warm_pool": {"state": pool.state.value, "next": pool.next}}


def obstacle(
    machine: Machine, request: FailoverRequest, readiness: Readiness, plan: Mapping[str, Any]
) -> tuple[str, str] | None:
    """(code, reason) of the first thing that would stop the failover; None where nothing is known to."""
    denied = refusal(machine, request)
    if denied is not None:
        return denied.code, denied.because
    if not readiness.overall_ready:
        return "not_ready", not_ready_because(readiness)
    rungs = ladder(readiness.setting)
    if readiness.warm_pool_ready and Rung.WARM_POOL in rungs:
        return None
    if prepared_of(machine) is not None and Rung.CPU_STANDBY in rungs:
        return None  # It lands there, and rents nothing.
    if Rung.REGIONAL_VOLUME in rungs:
        return None  # A free GPU beside the volume was part of what was verified.
    offers = plan.get("offers") or ()
    if not offers:
        return "no_offer_matches", "no offer matches what the machine needs"
    broken = next((offer["error"] for offer in offers if "error" in offer), None)
    return ("provider_unavailable", f"the provider gave no offers: {broken}") if broken else None


def not_ready_because(readiness: Readiness) -> str:
    """Why no strategy of the ladder is ready, strategy by strategy."""
    why = {
        Rung.WARM_POOL: readiness.warm_pool_why,
        Rung.CPU_STANDBY: readiness.cpu_standby_why,
        Rung.REGIONAL_VOLUME: readiness.regional_volume_why,
    }
    rungs = ladder(readiness.setting)
    if readiness.setting is Setting.DISABLED:
        return "the strategy is disabled"
    return "; ".join(f"{rung.value}: {why.get(rung) or 'nothing is provisioned for it'}" for rung in rungs)
