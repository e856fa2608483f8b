"""`failoverd check`: one line and a code for Nagios and its kin, and for a container's health check."""

from __future__ import annotations

import typer

from daemon import screens
from daemon.client import EXIT_AUTH, ApiClient, ClientError

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
    """The fleet, or one machine: critical where one has failed or the daemon is not ready, a warning where one is not well."""
    try:
        rows = [api.machine(machine)] if machine is not None else api.machines()
        not_ready, alerts = api.not_ready(), api.alerts()
    except ClientError as error:
        return _say(UNKNOWN if error.exit_code == EXIT_AUTH else CRITICAL, f"{error.detail} ({error.code})")
    failed = [row["name"] for row in rows if row["state"] == "failed"]
    unwell = [row["name"] for row in rows if row["state"] not in ("failed", *screens.CALM_STATES)]
    figures = {
        "machines": len(rows),
        "failed": len(failed),
        "not_well": len(unwell),
        "alerts": len(alerts),
        "not_ready": len(not_ready),
    }
    if failed or not_ready:
        told = [f"failed: {', '.join(failed)}"] if failed else []
        told += [f"{name}: {found['detail']}" for name, found in not_ready.items()]
        return _say(CRITICAL, "; ".join(told), figures)
    if unwell or alerts:
        told = [f"not well: {', '.join(unwell)}"] if unwell else []
        told += [str(alert["text"]) for alert in alerts[:3]]
        return _say(WARNING, "; ".join(told), figures)
    return _say(OK, f"{len(rows)} machine{'' if len(rows) == 1 else 's'} well", figures)


def _say(code: int, text: str, figures: dict[str, int] | None = None) -> int:
    """One line: a bar would begin Nagios' figures, so none may stand in the text."""
    line = " ".join(text.replace("|", "/").split())
    shown = "" if not figures else " | " + " ".join(f"{name}={value}" for name, value in figures.items())
    typer.echo(f"FAILOVERD {_WORDS[code]} - {line}{shown}")
    return code
