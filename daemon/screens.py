"""What people see in a terminal: the machines, one failover's timeline, the state table. Rows in, renderables out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

PLAIN_WIDTH = 160
"""Columns where nobody looks: a pipe or a file gets whole lines."""
CALM_STATES = ("healthy", "recovered")
STYLES = {
    "healthy": "green",
    "recovered": "green",
    "detecting": "yellow",
    "failed": "bold red",
    "succeeded": "green",
    "running": "cyan",
    "done": "green",
    "waiting": "yellow",
    "refused": "red",
}


def console(stream: TextIO | None = None) -> Console:
    """Plain text without a terminal or with NO_COLOR; never narrower than its content where nobody looks."""
    from rich.console import Console

    stream = stream or sys.stdout
    is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    width = None if is_terminal else int(os.environ.get("COLUMNS") or PLAIN_WIDTH)
    return Console(file=stream, width=width, highlight=False, soft_wrap=False, force_terminal=is_terminal)


def style_of(state: str) -> str:
    return STYLES.get(state, "cyan" if state.endswith("_attempt") else "")


def columns(*names: str, right: Sequence[str] = (), wide: Sequence[str] = ()) -> Table:
    """A table without lines, which survives a pipe, a narrow terminal and a reader who sees no colours.

    `wide` columns give way first where the terminal is narrow.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for name in names:
        table.add_column(
            name, justify="right" if name in right else "left", no_wrap=name not in wide, overflow="ellipsis"
        )
    return table


# -- the machines


def status_screen(machines: Sequence[Mapping[str, Any]], failovers: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """One row for each machine, and a sentence for each that is not well. `failovers` by id: each machine's last one."""
    from rich.console import Group
    from rich.text import Text

    table = columns(
        *("MACHINE", "NAME", "STATE", "SINCE", "INSTANCE", "GPU", "$/H", "FENCE", "LAST FAILOVER"),
        right=("MACHINE", "$/H", "FENCE"),
    )
    for row in machines:
        state = str(row["state"])
        price = row.get("price_per_hour")
        table.add_row(
            str(row["id"]),
            str(row["name"]),
            Text(state, style=style_of(state)),
            span(row.get("since_seconds")),
            str(row.get("gpu_instance_id") or "-"),
            f"{row['gpu_name']} x{row['num_gpus']}" if row.get("gpu_name") else "-",
            "-" if price is None else f"{price:.2f}",
            str(row["fence"]),
            last_failover(row, failovers),
        )
    reasons = [
        Text(f"{row['name']}: {row['state']}: {row['because']}", style=style_of(str(row["state"])))
        for row in machines
        if row["state"] not in CALM_STATES
    ]
    return Group(table, *reasons, Text(_total(machines)))


def last_failover(row: Mapping[str, Any], failovers: Mapping[str, Mapping[str, Any]]) -> str:
    """Its id, how it stands and how long it took."""
    named = row.get("failover_id") or row.get("last_failover_id")
    if not named:
        return "-"
    found = failovers.get(str(named))
    if found is None:
        return str(named)
    return f"{named} {found['state']} {span(seconds_between(found.get('started_at'), found.get('ended_at')))}".rstrip()


def _total(machines: Sequence[Mapping[str, Any]]) -> str:
    if not machines:
        return "No machine is registered.  → PUT /api/v1/machines/ID, or `machines:` in the configuration"
    moving = sum(1 for row in machines if row.get("failover_id"))
    unwell = sum(1 for row in machines if row["state"] not in CALM_STATES) - moving
    parts = [f"{len(machines)} machine" + ("s" if len(machines) != 1 else "")]
    parts += [f"{moving} failing over"] if moving else []
    parts += [f"{unwell} not well"] if unwell > 0 else []
    return " · ".join(parts) + ("  → failoverd show last" if moving else "")


def span(seconds: float | None) -> str:
    """A length of time as people say it: 3s, 4m10s, 2h05m, 3d."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d"


def moment(text: str | None) -> datetime | None:
    """An ISO time of the API, aware."""
    if not text:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def seconds_between(start: str | None, end: str | None) -> float | None:
    began, ended = moment(start), moment(end)
    return None if began is None or ended is None else (ended - began).total_seconds()


# -- the state table


def states_screen(edges: Sequence[tuple[str, str, str, str]]) -> RenderableType:
    """(from, trigger, to, because) as a table; a state is named once for all edges that leave it."""
    table = columns("FROM", "TRIGGER", "TO", "BECAUSE", wide=("BECAUSE",))
    before = ""
    for source, trigger, target, because in edges:
        table.add_row(source if source != before else "", trigger, target, because)
        before = source
    return table


# -- one failover

BAR = 22
"""Columns of a timeline's bars: with name, times and a short note a line fits into 80."""


def timeline_screen(failover: Mapping[str, Any], now: datetime | None = None) -> RenderableType:
    """One failover: why, on what evidence, and a bar for each step. `now` ends the bars of what still runs."""
    from rich.console import Group
    from rich.text import Text

    state = str(failover["state"])
    end = moment(failover.get("ended_at")) or now or _last_known(failover)
    began = moment(failover["started_at"])
    assert began is not None
    head = Text.assemble(
        (str(failover["failover_id"]), "bold"),
        f"  machine {failover['machine_id']}  {failover['trigger']}  ",
        (state.upper(), style_of(state)),
        f"  {span((end - began).total_seconds())}",
    )
    lines: list[RenderableType] = [head, Text(f" because   {failover['because']}", style="dim")]
    evidence = [f"{said['source']}: {said['word']} ({said['detail']})" for said in failover.get("evidence") or ()]
    if evidence:
        lines.append(Text(" evidence  " + "; ".join(evidence), style="dim"))
    for attempt in failover["attempts"]:
        lines += _attempt_lines(attempt, began, end, alone=len(failover["attempts"]) == 1)
    lines.append(Text(" " + _outcome(failover)))
    return Group(*lines)


def _attempt_lines(attempt: Mapping[str, Any], began: datetime, end: datetime, *, alone: bool) -> list[RenderableType]:
    from rich.text import Text

    lines: list[RenderableType] = []
    if not alone or attempt["code"]:
        failed = f": {attempt['code']}: {attempt['why']}" if attempt["code"] else ""
        style = style_of(str(attempt["status"]))
        lines.append(
            Text(f" attempt {attempt['number']} {attempt['strategy']} {attempt['status']}{failed}", style=style)
        )
    return lines + [step_line(step, attempt, began, end) for step in attempt["steps"]]


def step_line(step: Mapping[str, Any], attempt: Mapping[str, Any], began: datetime, end: datetime) -> Text:
    """Name, start, bar, seconds and one remark; cut at the terminal's edge rather than wrapped."""
    from rich.text import Text

    started, ended = moment(step["started_at"]), moment(step["ended_at"])
    status = str(step["status"])
    if started is None:
        return Text(f"  {step['name']:<16}   -   ▏{'':<{BAR}}▕          {status}", style="dim", no_wrap=True)
    until = ended or end
    at = (started - began).total_seconds()
    clock = f"{int(at) // 60:02d}:{int(at) % 60:02d}"
    style, said = style_of(status), remark(step, attempt)
    line = Text.assemble(
        f"  {step['name']:<16} {clock} ▏",
        (bar((began, end), started, until), style),
        f"▕ {(until - started).total_seconds():6.1f}s  ",
        ("" if status == "done" else f"{status}: " if said else status, style),
        said,
    )
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def bar(whole: tuple[datetime, datetime], start: datetime, end: datetime) -> str:
    """Where in the whole a part lies, in columns; every part that was is seen."""
    began, until = whole
    length = max((until - began).total_seconds(), 1e-6)
    left = min(BAR - 1, int((start - began).total_seconds() / length * BAR))
    right = max(left + 1, min(BAR, round((end - began).total_seconds() / length * BAR)))
    return (" " * left + "█" * (right - left)).ljust(BAR)


def remark(step: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    """What the step gave, or what it waits for, or why it failed; and that there were errors before."""
    text = _gave(str(step["name"]), step["output"], attempt) if step["output"] else str(step["error"] or "")
    errors = step.get("errors") or ()
    if step["status"] == "done" and errors:
        text += f" ({len(errors)} errors before: {errors[-1]['why']})"
    undo = step.get("undo")
    return text + (f" [undo {undo['status']}]" if undo else "")


def _gave(name: str, output: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    """A step's output in a few words; a step that is not known here shows its plain values."""
    match name:
        case "choose_snapshot":
            return f"snapshot {output['id']}, {output['age_s']:.0f}s old, {output['size_bytes'] / 1e9:.1f} GB"
        case "fence_primary":
            return f"{output['grade']}: {output['proof']}"
        case "rent_candidate":
            tried = len(attempt.get("candidates") or ())
            price = f"{output['gpu_name']} at {output['price_per_hour']:.2f} $/h"
            return f"instance {output['instance']} on host {output['host']}, {price} ({tried} tried)"
        case "restore":
            return f"{output['bytes_done'] / 1e9:.1f} GB, {output['detail']}"
        case "verify":
            return f"{output['files']} files equal the manifest"
        case "start_agent":
            return "the agent was started"
        case "await_heartbeat":
            return f"heard over {output['heard_over']}"
        case "hand_over":
            return f"instance {output['instance']} is the machine now"
        case _:
            return ", ".join(f"{key} {_short(value)}" for key, value in output.items())


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _outcome(failover: Mapping[str, Any]) -> str:
    """What it came to: the new instance, how harmless the old one is, how old the data; or what went wrong."""
    parts = []
    if failover.get("new_gpu_instance_id"):
        parts.append(f"instance {failover['old_gpu_instance_id']} → {failover['new_gpu_instance_id']}")
    if failover.get("fence_grade"):
        parts.append(f"old one {failover['fence_grade']} (fence {failover['fence']})")
    if failover.get("data_age_seconds") is not None:
        parts.append(f"data {failover['data_age_seconds']:.0f}s old")
    if failover.get("price_per_hour"):
        parts.append(f"{failover['price_per_hour']:.2f} $/h")
    if failover.get("error"):
        parts.append(f"{failover['error']}: {failover.get('error_detail') or ''}")
    return "  ".join([*parts, f"api /api/v1/failovers/{failover['failover_id']}"])


def _last_known(failover: Mapping[str, Any]) -> datetime:
    """The newest time in the timeline, where nobody says what time it is."""
    known = [moment(failover["started_at"])]
    for attempt in failover["attempts"]:
        for step in attempt["steps"]:
            known += [moment(step["started_at"]), moment(step["ended_at"])]
    return max(at for at in known if at is not None)
