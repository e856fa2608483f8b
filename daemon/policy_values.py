"""Are these settings ones that can be kept? The bounds are the configuration's own (daemon/settings.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from machines.model import Machine
from machines.policy import NAMES, OF_A_MACHINE, OF_THE_FLEET, Policy, Said, plain, value_of
from machines.problems import Problem, as_json, invalid, unfit


def checked(values: Mapping[str, Any], over: Policy) -> Said:
    """The values of those that are no null. Each is in its bounds, and with what else counts no two contradict each other.
    Raise Problem (400) that names the field."""
    from daemon.settings import PolicySection  # The settings know what a registration is, and that asks here.

    _known(values, NAMES)
    said = {name: value for name, value in values.items() if value is not None}
    if isinstance(said.get("auto_failover"), bool):
        raise invalid("auto_failover", said["auto_failover"], "'off', 'observe' or 'on'")
    try:
        found = PolicySection.model_validate_json(json.dumps({**plain(over), **said}), strict=True)
    except (ValidationError, ValueError) as error:
        raise _problem(error, said) from None
    clean = plain(found.policy())
    return {name: clean[name] for name in said}


def checked_for_machine(values: Mapping[str, Any], machine: Machine, over: Policy) -> Said:
    """The same of one machine's own; what only the fleet can have is refused."""
    for name in values:
        if name in OF_THE_FLEET:
            why = "it is a setting of the whole fleet"
            raise unfit(name, values[name], why, f"it to PUT /api/v1/failover/settings, not for machine {machine.id},")
    _known(values, OF_A_MACHINE)
    own = {name: value_of(name, machine, over) for name in ("strategy", "auto_failover", "priority")}
    found = checked({**own, **values}, over)
    return {name: value for name, value in found.items() if name in values}


def _known(values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in values:
        if name not in names:
            detail = f"{name}: there is no such setting"
            problem = Problem(400, "invalid_parameter", detail, f"known are {', '.join(sorted(names))}")
            problem.extra["field"] = name
            raise problem


def _problem(error: ValueError, said: Said) -> Problem:
    """The first fault, named after what was said where that is one of the two that contradict each other."""
    if not isinstance(error, ValidationError):
        return Problem(400, "invalid_parameter", f"a setting is no value that JSON has: {error}", "send numbers")
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    name = str(context.get("field") or (first["loc"][0] if first["loc"] else next(iter(said), "settings")))
    if first["type"] == "wrong":
        detail = f"{name}: {as_json(said.get(name))} is not allowed: it {context['text']}"
        return Problem(400, "invalid_parameter", detail, str(context["remedy"]), {"field": name})
    return invalid(name, said.get(name), first["msg"].removeprefix("Input should be "))
