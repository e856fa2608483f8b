"""`failoverd failover`, `drill` and `cancel`: ask, trigger without waiting for the end, and follow the durable record.

The daemon carries the failover out; the terminal only watches. Whoever closes it cancels nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon import screens
from daemon.cli_confirm import confirm
from daemon.cli_follow import Following, follow_answer
from daemon.cli_options import INTERRUPTED
from daemon.cli_output import Answer, Column, emit
from daemon.cli_show import find_failover
from daemon.client import EXIT_PENDING, EXIT_REFUSED, EXIT_UNREACHABLE, ApiClient, ClientError, because
from daemon.screens import say

_ASYNC = {"Prefer": b"respond-async"}


@dataclass(frozen=True, slots=True)
class FailoverOptions:
    """The command's options, as they were given."""

    machine: str
    strategy: str | None
    reason: str | None
    yes: bool
    following: Following
    dry_run: bool = False


def fail_over(api: ApiClient, options: FailoverOptions) -> int:
    """The exit code. Raise ClientError where the daemon refuses."""
    machine = api.machine(options.machine)
    if options.dry_run:
        return _dry_run(api, machine, options)
    _ask(machine, options)
    body = {
        "machine_id": machine["id"],
        **_place(machine),
        "workspace_path": machine.get("workspace_path") or "/workspace",
        "force_strategy": options.strategy,
    }
    if options.reason is not None:
        body["reason"] = options.reason
    headers = {**_ASYNC, **because(options.reason)}
    return follow_answer(api, _sent(lambda: api.post("/failover/execute", body, headers=headers)), options.following)


def drill(api: ApiClient, options: FailoverOptions) -> int:
    """On paper, or a real failover that is marked as a drill. Raise ClientError."""
    machine = api.machine(options.machine)
    if options.dry_run:
        return _dry_run(api, machine, options)
    _ask(machine, options)
    headers = {**_ASYNC, **because(options.reason)}
    query = {**_query(machine, options), "dry_run": "false"}
    path = f"/failover/test/{machine['id']}"
    return follow_answer(api, _sent(lambda: api.post(path, query=query, headers=headers)), options.following)


def cancel(api: ApiClient, what: str, reason: str | None, following: Following, *, yes: bool) -> int:
    """Ask a running failover to unwind, and follow it to its end: 0 where it ended. Raise ClientError."""
    failover = api.failover(find_failover(api, what))
    machine = api.machine(str(failover["machine_id"]))
    name = f"{failover['failover_id']} of {machine['name']}"
    if failover["state"] == "running":
        confirm(str(machine["name"]), f"Failover {name} will be unwound: what it rented is destroyed", yes=yes)
    body = {} if reason is None else {"reason": reason}
    answer = api.post(f"/failovers/{failover['failover_id']}/cancel", body, headers=because(reason))
    code = follow_answer(api, answer, following)
    if code == EXIT_PENDING:
        return code
    newest = api.failover(failover["failover_id"])
    # A failover that was cancelled has not succeeded, and that is what was asked for.
    return 0 if newest["state"] == "failed" and newest["error"] == "cancelled" else code


def _ask(machine: Mapping[str, Any], options: FailoverOptions) -> None:
    name, instance = str(machine["name"]), machine["gpu_instance_id"]
    confirm(name, f"Instance {instance} of {name} will be fenced, replaced and destroyed", yes=options.yes)


def _place(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What the contract wants to be named: the instance that is meant, and where it listens."""
    place = {name: machine.get(name) for name in ("gpu_instance_id", "ssh_host", "ssh_port")}
    if any(value is None for value in place.values()):
        why = f"machine {machine['id']} has no instance with an SSH port that a failover could replace"
        remedy = f"name it: failoverd machines register {machine['id']} --gpu-instance-id NUMBER"
        raise ClientError(EXIT_REFUSED, "no_primary", why, remedy)
    return place


def _query(machine: Mapping[str, Any], options: FailoverOptions) -> dict[str, Any]:
    named = {} if options.strategy is None else {"strategy": options.strategy}
    return {**_place(machine), **named}


def _sent(ask: Callable[[], Any]) -> dict[str, Any]:
    try:
        return dict(ask())
    except ClientError as error:
        if error.code == "failover_in_progress" and "failover_id" in error.extra:
            error.remedy = f"follow it: failoverd show {error.extra['failover_id']} -f"
        if error.code == "shutting_down" and "failover_id" in error.extra:
            # It was accepted, and goes on when the daemon is back.
            return {"failover_id": error.extra["failover_id"], "state": "running"}
        if error.exit_code == EXIT_UNREACHABLE:
            error.remedy = f"it may have been accepted all the same: failoverd history; else {error.remedy}"
        raise


# -- on paper

_PLAN_COLUMNS = (
    Column("machine_id", "MACHINE"),
    Column("strategy", "STRATEGY"),
    Column("would_succeed", "WOULD SUCCEED"),
    Column("code", "CODE"),
    Column("reason", "REASON"),
)


def _dry_run(api: ApiClient, machine: Mapping[str, Any], options: FailoverOptions) -> int:
    """What it would do, by reads alone; refused (5) where it would not succeed."""
    try:
        answer = api.post(f"/failover/test/{machine['id']}", query={**_query(machine, options), "dry_run": "true"})
    except KeyboardInterrupt:
        say("interrupted: nothing was touched", err=True)
        return INTERRUPTED
    output = options.following.output
    if output.is_for_people:
        _print_plan(machine, answer)
    else:
        emit(Answer(answer, [answer], _PLAN_COLUMNS), output)
    if answer["would_succeed"]:
        return 0
    say(f"error[{answer.get('code') or 'not_ready'}] {answer['reason']}", err=True)
    action = api.get(f"/failover/readiness/{machine['id']}").get("recommended_action")
    say(f"  remedy  {action or 'name another strategy: --strategy'}", err=True)
    return EXIT_REFUSED


def _print_plan(machine: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    plan = answer.get("plan") or {}
    would = "would succeed" if answer["would_succeed"] else "would NOT succeed"
    say(f"A failover of {machine['name']} (machine {machine['id']}) {would}. Nothing was touched.")
    for rung in plan.get("steps") or ():
        steps = " → ".join(rung["steps"]) or str(rung.get("note") or "nothing")
        say(f"  {rung['strategy']}: {steps}")
    if pool := plan.get("warm_pool"):
        say(f"  warm pool {pool['state']}: {pool['next']}")
    age = plan.get("snapshot_age_seconds")
    say(f"  data: {'no verified snapshot' if age is None else f'{screens.span(age)} old'}")
    for offer in plan.get("offers") or ():
        if "offer_id" in offer:
            price = f"{offer['price_per_hour']:.3f} $/h"
            say(f"  offer {offer['offer_id']}  {offer['gpu_name']}  {price}  {offer.get('geolocation') or ''}")
