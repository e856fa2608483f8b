"""`failoverd check`: one line and a code for Nagios and its kin, and for a container's health check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon import screens
from daemon.cli_show import pause_of, rests_of
from daemon.client import EXIT_AUTH, ApiClient, ClientError
from daemon.screens import say

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def check_live(api: ApiClient) -> int:
    """Does the daemon's control loop turn? Needs no token."""
    try:
        answer = api.outside("/livez")
    except ClientError as error:
        return _say(CRITICAL, error.detail)
    if answer.is_success:
        return _say(OK, "the daemon lives")
    return _say(CRITICAL, f"/livez answers {answer.status_code}: see /livez?verbose")


def check(api: ApiClient, machine: str | None) -> int:
    """The fleet, or one machine: critical where one has failed or the daemon is not ready, a warning where one is not well or
    may not be failed over because of a pause. A machine answers for its own alerts alone: what is the matter with another one,
    or with a channel, would turn every machine's light on at once."""
    try:
        rows = [api.machine(machine)] if machine is not None else api.machines()
        not_ready, alerts, fleet = api.not_ready(), api.alerts(), api.get("/fleet")
    except ClientError as error:
        return _say(UNKNOWN if error.exit_code == EXIT_AUTH else CRITICAL, f"{error.detail} ({error.code})")
    if machine is None:
        return _judge(Seen(rows, alerts, not_ready, pause_of(fleet), list(rests_of(fleet)), fleet["auto_failover"]))
    (row,) = rows
    rests = list(rests_of(fleet, row["id"]))
    own = [alert for alert in alerts if _is_of(row["id"], alert)]
    pause = "; ".join([*filter(None, [pause_of(fleet)]), *rests]) or None
    return _judge(Seen(rows, own, not_ready, pause, (), row["auto_failover"]))


@dataclass(frozen=True, slots=True)
class Seen:
    """What is judged, of the fleet or of one machine."""

    machines: Sequence[Mapping[str, Any]]
    alerts: Sequence[Mapping[str, Any]]
    not_ready: Mapping[str, Mapping[str, Any]]
    pause: str | None
    """That nothing of this is failed over by itself for a while, in words."""
    rests: Sequence[str]
    """The same of single machines of many: said, and no warning."""
    auto_failover: str


def _judge(seen: Seen) -> int:
    failed = [row["name"] for row in seen.machines if row["state"] == "failed"]
    unwell = [row["name"] for row in seen.machines if row["state"] not in ("failed", *screens.CALM_STATES)]
    figures = {
        "machines": len(seen.machines),
        "failed": len(failed),
        "not_well": len(unwell),
        "alerts": len(seen.alerts),
        "not_ready": len(seen.not_ready),
    }
    if failed or seen.not_ready:
        told = [f"failed: {', '.join(failed)}"] if failed else []
        told += [f"{name}: {found['detail']}" for name, found in seen.not_ready.items()]
        return _say(CRITICAL, "; ".join(told), figures)
    if unwell or seen.alerts or seen.pause:
        told = [f"not well: {', '.join(unwell)}"] if unwell else []
        told += [seen.pause] if seen.pause else []
        told += [str(alert["text"]) for alert in seen.alerts[:3]]
        return _say(WARNING, "; ".join(told), figures)
    well = f"{len(seen.machines)} machine{'' if len(seen.machines) == 1 else 's'} well"
    return _say(OK, "; ".join([well, *seen.rests, *_set_so(seen.auto_failover)]), figures)


def _set_so(auto_failover: str) -> Iterator[str]:
    """Somebody wanted it so, and it ends by nothing: a light that is always yellow would be looked at by nobody."""
    if auto_failover != "on":
        yield f"nothing is failed over by itself: auto_failover={auto_failover}"


def _is_of(machine: int, alert: Mapping[str, Any]) -> bool:
    key = str(alert["key"])
    return key == f"machine-{machine}" or key.startswith(f"machine-{machine}-")


def _say(code: int, text: str, figures: dict[str, int] | None = None) -> int:
    """One line: a bar would begin Nagios' figures, so none may stand in the text."""
    line = " ".join(text.replace("|", "/").split())
    shown = "" if not figures else " | " + " ".join(f"{name}={value}" for name, value in figures.items())
    say(f"FAILOVERD {_WORDS[code]} - {line}{shown}")
    return code
