"""`failoverd pause`, `resume`, `retry`, `ack`, `settings` and `explain`: what may happen by itself, and why it did or did not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daemon.cli_confirm import confirm
from daemon.cli_follow import Following, follow_answer
from daemon.cli_output import Answer, Column, Output, emit
from daemon.cli_show import find_failover
from daemon.client import EXIT_REFUSED, EXIT_USAGE, ApiClient, ClientError
from daemon.screens import say

_MINUTES = {"s": 1 / 60, "m": 1.0, "h": 60.0, "d": 1440.0}
_WEEK_M = 7 * _MINUTES["d"]
_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])", re.ASCII)


# -- pause and resume


def pause(api: ApiClient, machine: str | None, length: str, reason: str, output: Output) -> None:
    """Of the fleet, or of one machine. Raise ClientError."""
    body: dict[str, Any] = {"minutes": minutes_of(length), "reason": reason}
    _say(api, "/pause", _with_machine(api, machine, body), output)


def resume(api: ApiClient, machine: str | None, reason: str | None, output: Output) -> None:
    """Raise ClientError."""
    _say(api, "/resume", _with_machine(api, machine, {} if reason is None else {"reason": reason}), output)


def minutes_of(length: str) -> float:
    """Of the length of a pause, such as 90s, 30m, 2h or 1d. Raise ClientError."""
    found = _LENGTH.fullmatch(length.strip())
    if found is None:
        why = f"{length!r} is no length of time"
        raise ClientError(EXIT_USAGE, "invalid_parameter", why, "write it like 90s, 30m, 2h or 1d")
    minutes = float(found[1]) * _MINUTES[found[2]]
    if not 1 <= minutes <= _WEEK_M:
        why = f"no pause can last {length}: a minute is the least, and a week the most"
        remedy = "write 7d at most, and say it again before it ends" if minutes > 1 else "write 1m at least"
        raise ClientError(EXIT_USAGE, "invalid_parameter", why, remedy)
    return minutes


def _with_machine(api: ApiClient, machine: str | None, body: dict[str, Any]) -> dict[str, Any]:
    return body if machine is None else {**body, "machine_id": api.machine(machine)["id"]}


_PAUSE_COLUMNS = (Column("machine_id", "MACHINE"), Column("paused_until", "PAUSED UNTIL"))


def _say(api: ApiClient, path: str, body: Mapping[str, Any], output: Output) -> None:
    answer = api.post(path, body)
    if not output.is_for_people:
        emit(Answer(answer, [answer], _PAUSE_COLUMNS), output)
        return
    whom = f"machine {answer['machine_id']}" if "machine_id" in answer else "the fleet"
    until = answer["paused_until"]
    if until is None:
        say(f"automatic failover of {whom} goes on.  → failoverd queue")
    else:
        say(f"automatic failover of {whom} is paused until {until}; by hand it can be failed over all the same.")


# -- after a failure


def retry(
    api: ApiClient, what: str, strategy: str | None, reason: str | None, following: Following, *, yes: bool
) -> int:
    """The exit code of the new failover. Raise ClientError."""
    failover = api.failover(find_failover(api, what))
    machine = api.machine(str(failover["machine_id"]))
    what_happens = f"Machine {machine['name']} will be failed over again, as {failover['failover_id']} was"
    confirm(str(machine["name"]), what_happens, yes=yes)
    named = {"strategy": strategy, "reason": reason}
    body = {name: value for name, value in named.items() if value is not None}
    return follow_answer(api, api.post(f"/failovers/{failover['failover_id']}/retry", body), following)


_ACK_COLUMNS = (
    Column("failover_id", "FAILOVER"),
    Column("machine_id", "MACHINE", right=True),
    Column("acknowledged_at", "AT"),
    Column("acknowledged_by", "BY"),
    Column("comment", "COMMENT", gives_way=True),
)


def ack(api: ApiClient, what: str, comment: str | None, output: Output) -> None:
    """Raise ClientError, also where somebody was first and the comment is not kept."""
    body = {} if comment is None else {"comment": comment}
    answer = api.post(f"/failovers/{find_failover(api, what)}/ack", body)
    emit(Answer(answer, [answer], _ACK_COLUMNS), output)
    if comment is not None and answer["comment"] != comment:
        who, said = answer["acknowledged_by"], answer["comment"]
        why = f"{who} was first, at {answer['acknowledged_at']}, and what was said then stands: {said or 'nothing'}"
        raise ClientError(EXIT_REFUSED, "already_acknowledged", why, "nothing is left to do; --reason was not kept")


# -- settings

_SETTING_COLUMNS = (
    Column("name", "SETTING"),
    Column("value", "VALUE", lambda row: json.dumps(row["value"]).strip('"'), right=True),
    Column("origin", "FROM"),
    Column("of_the_fleet", "THE FLEET'S", only_wide=True),
)


def show_settings(api: ApiClient, machine: str | None, output: Output, *, every: bool) -> None:
    """Those that somebody said, or with `every` also the defaults. Raise ClientError."""
    emit(_settings_answer(api.get(_place(api, machine)), every), output)


def change_settings(
    api: ApiClient, machine: str | None, pairs: Sequence[str], reason: str | None, output: Output
) -> None:
    """`pairs` are NAME=VALUE, or NAME= to take back what was said. Raise ClientError."""
    body = dict(_pair(text) for text in pairs)
    if reason is not None:
        body["reason"] = reason
    answer = api.put(_place(api, machine), body)
    shown = {name: answer["settings"][name] for name in body if name in answer["settings"]}
    emit(_settings_answer({**answer, "settings": shown}, every=True), output)


def reset_settings(api: ApiClient, machine: str, reason: str | None, output: Output) -> None:
    """The machine follows the configuration and the fleet in everything. Raise ClientError."""
    emit(_settings_answer(api.delete(_place(api, machine), reason), every=False), output)


def _place(api: ApiClient, machine: str | None) -> str:
    return "/failover/settings" if machine is None else f"/failover/settings/{api.machine(machine)['id']}"


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ClientError(EXIT_USAGE, "invalid_parameter", f"{text!r} names no setting", "write it like priority=5")
    if value == "":
        return name, None
    try:
        found = json.loads(value)
    except ValueError:
        return name, value
    try:
        json.dumps(found, allow_nan=False)
    except ValueError:  # 1e400, or NaN: JSON has neither, though its reader takes both.
        why = f"{name}: {value} is no number that a setting could have"
        raise ClientError(EXIT_USAGE, "invalid_parameter", why, "write a number such as 30 or 0.5") from None
    return name, found


def _settings_answer(found: Mapping[str, Any], every: bool) -> Answer:
    """The same ones as a table and as a document."""
    names = [name for name in found["settings"] if every or found["origins"][name] != "default"]
    told = {member: _only(names, found[member]) for member in _BY_SETTING if member in found}
    fleet = told.get("of_the_fleet", {})
    rows = [
        {"name": name, "value": value, "origin": told["origins"][name], "of_the_fleet": fleet.get(name)}
        for name, value in told["settings"].items()
    ]
    after = [] if every else ["all others are the defaults.  → failoverd settings show --all"]
    return Answer({**found, **told}, rows, _SETTING_COLUMNS, after=after)


_BY_SETTING = ("settings", "origins", "of_the_fleet")


def _only(names: Sequence[str], of_each: Mapping[str, Any]) -> dict[str, Any]:
    return {name: of_each[name] for name in names if name in of_each}


# -- why

_RULE_COLUMNS = (
    Column("passes", "", lambda row: "ok" if row["passes"] else "NO"),
    Column("rule", "RULE", lambda row: str(row["rule"]).replace("_", " ")),
    Column("found", "FOUND", gives_way=True),
    Column("value", "VALUE", right=True, only_wide=True),
    Column("threshold", "THRESHOLD", right=True, only_wide=True),
    Column("settings", "CHANGED BY", lambda row: _said_by(row["settings"]), gives_way=True),
)


def explain(api: ApiClient, machine: str, output: Output) -> None:
    """Raise ClientError."""
    why = api.get(f"/machines/{api.machine(machine)['id']}/explain")
    emit(Answer(why, why["rules"], _RULE_COLUMNS, before=list(_head(why)), after=list(_end(why))), output)


def _said_by(settings: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{one['name']}={one['value']} ({one['origin']})" for one in settings)


def _head(why: Mapping[str, Any]) -> Iterator[str]:
    yield f"{why['name']} is {str(why['state']).upper()} since {why['since'] or 'ever'}: {why['because']}"
    for said in why["evidence"]:
        yield f"  {said['source']} said {said['age_seconds']:.0f} s ago: {said['word']}: {said['detail']}"


def _end(why: Mapping[str, Any]) -> Iterator[str]:
    if why["begins_now"]:
        yield "→ an automatic failover begins as soon as the gate is asked"
    elif why["stopped_by"]:
        until = f" until {why['blocked_until']}" if why["blocked_until"] else ""
        yield f"→ no automatic failover now: {str(why['stopped_by']).replace('_', ' ')}{until}"
    yield f"next     {why['next']}"
    if why["recommended_action"]:
        yield f"remedy   {why['recommended_action']}"
