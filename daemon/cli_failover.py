"""`failoverd failover`: ask, trigger without waiting, and follow the record. Watching changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from math import ceil
from typing import Any

import typer

from daemon import screens
from daemon.cli_show import TIMELINE_EVERY_S, follow_failover, pause, print_json
from daemon.client import EXIT_FAILED, EXIT_PENDING, EXIT_REFUSED, ApiClient, ClientError

USAGE = 2


@dataclass(frozen=True, slots=True)
class FailoverOptions:
    """The command's options, as they were given. `timeout_s` is how long it is followed, in real seconds."""

    machine: str
    strategy: str | None
    dry_run: bool
    wait: bool
    timeout_s: float | None
    reason: str | None
    yes: bool
    as_json: bool


def fail_over(api: ApiClient, options: FailoverOptions) -> int:
    """The exit code. Raise ClientError where the daemon refuses."""
    machine = api.machine(options.machine)
    if options.dry_run:
        return _dry_run(api, machine, options)
    _ask(machine, options)
    answer = _trigger(api, machine, options)
    if "success" in answer:
        return _ended_at_once(answer, options)
    failover = str(answer["failover_id"])
    if not options.wait:
        if options.as_json:
            print_json(answer)
        else:
            typer.echo(f"{failover} was accepted and is running.  → failoverd show {failover} -f")
        return EXIT_PENDING
    return _follow(api, failover, options)


def _ask(machine: Mapping[str, Any], options: FailoverOptions) -> None:
    """A destructive verb wants the machine's name typed, or --yes from a script."""
    if options.yes:
        return
    name = str(machine["name"])
    if not sys.stdin.isatty():
        why = f"a failover of {name} replaces instance {machine['gpu_instance_id']}, and nobody can be asked"
        raise ClientError(USAGE, "not_confirmed", why, "add --yes")
    typer.echo(f"Instance {machine['gpu_instance_id']} of {name} will be fenced, replaced and destroyed.", err=True)
    if typer.prompt(f"Type its name ({name}) to go on", err=True) != name:
        raise ClientError(USAGE, "not_confirmed", "that is not its name; nothing was done", "try again, or add --yes")


def _place(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What the contract wants to be named: the instance that is meant, and where it listens."""
    place = {name: machine.get(name) for name in ("gpu_instance_id", "ssh_host", "ssh_port")}
    if any(value is None for value in place.values()):
        why = f"machine {machine['id']} has no instance with an SSH port that a failover could replace"
        remedy = f"name it: PUT /api/v1/machines/{machine['id']} with gpu_instance_id"
        raise ClientError(EXIT_REFUSED, "no_primary", why, remedy)
    return place


def _trigger(api: ApiClient, machine: Mapping[str, Any], options: FailoverOptions) -> dict[str, Any]:
    body = {
        "machine_id": machine["id"],
        **_place(machine),
        "workspace_path": machine.get("workspace_path") or "/workspace",
        "force_strategy": options.strategy,
    }
    if options.reason is not None:
        body["reason"] = options.reason
    try:
        return dict(api.post("/failover/execute", body, headers={"Prefer": "respond-async"}))
    except ClientError as error:
        if error.code == "failover_in_progress" and "failover_id" in error.extra:
            error.remedy = f"follow it: failoverd show {error.extra['failover_id']} -f"
        raise


def _ended_at_once(answer: Mapping[str, Any], options: FailoverOptions) -> int:
    """A failover that was refused before it began (protection_disabled), or an answer that was there already."""
    if options.as_json:
        print_json(answer)
    elif answer["success"]:
        typer.echo(f"{answer['failover_id']} succeeded: the new instance is {answer['new_gpu_id']}.")
    else:
        typer.echo(f"error[{answer['error']}] {answer.get('error_detail') or ''}", err=True)
    if answer["success"]:
        return 0
    return EXIT_REFUSED if answer["error"] == "protection_disabled" else EXIT_FAILED


def _follow(api: ApiClient, failover: str, options: FailoverOptions) -> int:
    try:
        newest = _watch(api, failover, options)
    except KeyboardInterrupt:
        newest = {"state": "running"}
    if options.as_json:
        print_json(newest)
    if newest["state"] == "running":
        typer.echo(f"{failover} is still running.  → failoverd show {failover} -f", err=True)
        return EXIT_PENDING
    return 0 if newest["state"] == "succeeded" else EXIT_FAILED


def _watch(api: ApiClient, failover: str, options: FailoverOptions) -> dict[str, Any]:
    patience = _patience(options.timeout_s)
    if not options.as_json:
        return follow_failover(api, failover, live=True, patience=patience)
    newest = api.failover(failover)
    while newest["state"] == "running" and patience():
        pause(TIMELINE_EVERY_S)
        newest = api.failover(failover)
    return newest


def _patience(timeout_s: float | None) -> Callable[[], bool]:
    """Asked once before each pause; counts the pauses, since no clock of ours need be read for that."""
    pauses = None if timeout_s is None else ceil(timeout_s / TIMELINE_EVERY_S)
    taken = count()
    return lambda: pauses is None or next(taken) < pauses


# -- on paper


def _dry_run(api: ApiClient, machine: Mapping[str, Any], options: FailoverOptions) -> int:
    """What it would do, by reads alone; refused (5) where it would not succeed."""
    query = {**_place(machine), "dry_run": "true"}
    if options.strategy is not None:
        query["strategy"] = options.strategy
    answer = api.post(f"/failover/test/{machine['id']}", query=query)
    if options.as_json:
        print_json(answer)
    else:
        _print_plan(machine, answer)
    return 0 if answer["would_succeed"] else EXIT_REFUSED


def _print_plan(machine: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    plan = answer.get("plan") or {}
    would = "would succeed" if answer["would_succeed"] else "would NOT succeed"
    typer.echo(f"A failover of {machine['name']} (machine {machine['id']}) {would}. Nothing was touched.")
    if not answer["would_succeed"]:
        typer.echo(f"error[{answer.get('code') or 'not_ready'}] {answer['reason']}", err=True)
    for rung in plan.get("steps") or ():
        steps = " → ".join(rung["steps"]) or str(rung.get("note") or "nothing")
        typer.echo(f"  {rung['strategy']}: {steps}")
    age = plan.get("snapshot_age_seconds")
    typer.echo(f"  data: {'no verified snapshot' if age is None else f'{screens.span(age)} old'}")
    for offer in plan.get("offers") or ():
        if "offer_id" in offer:
            price = f"{offer['price_per_hour']:.3f} $/h"
            typer.echo(f"  offer {offer['offer_id']}  {offer['gpu_name']}  {price}  {offer.get('geolocation') or ''}")
