"""What people see in a terminal: the machines, one failover's timeline, the state table. Rows in, renderables out."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TextIO

from daemon.step_words import gave

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])")
PLAIN_WIDTH = 160
"""Columns where nobody looks: a pipe or a file gets whole lines."""
NOBODY_READS = 141
"""The exit code where our reader has gone, as a shell shows the end by SIGPIPE."""
UNWRITTEN = 74
"""The exit code where what we print can be written nowhere (EX_IOERR of sysexits.h): a full disk, and no answer of the daemon's."""
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


class NobodyReads(Exception):
    """The reader of our output has gone (`failoverd demo | head`): no error, and nothing more to say."""


def is_unwritten(error: OSError) -> bool:
    """Could our output not be written? Of a file that we opened ourselves the error bears the name."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
    return error.filename is None and error.errno in full


def leave_the_pipe() -> None:
    """What is still written, or flushed at the end of the process, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def console(stream: TextIO | None = None, width: int | None = None) -> Console:
    """Plain text without a terminal or with NO_COLOR; never narrower than its content where nobody looks. `width` goes before
    the terminal's own.

    Its `print` raises NobodyReads where the reader has gone.
    """
    from rich.console import Console
    from rich.segment import Segment

    class OurConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            """What machines and providers have said is among what is shown; our own styles are no part of the text."""
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(harmless(segment.text), segment.style)

        def on_broken_pipe(self) -> None:
            leave_the_pipe()
            raise NobodyReads

    stream = stream or sys.stdout
    is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    if width is None and not is_terminal:
        width = int(os.environ.get("COLUMNS") or PLAIN_WIDTH)
    return OurConsole(file=stream, width=width, highlight=False, soft_wrap=False, force_terminal=is_terminal)


def say(text: str, err: bool = False) -> None:
    """A line, or some, for people; what machines and providers have said may be among it."""
    print(harmless(text), file=sys.stderr if err else sys.stdout, flush=True)


def harmless(text: str) -> str:
    """Without what would command the reader's terminal: whoever is on a machine writes what he likes."""
    return "".join(letter for letter in _ESCAPES.sub("", text) if letter.isprintable() or letter in "\t\n")


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


# -- what gives way to a narrow terminal


@dataclass(frozen=True, slots=True)
class ByWidth:
    """A renderable that is drawn for the width it is given, and again when the terminal changes."""

    draw: Callable[[int], RenderableType]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self.draw(options.max_width)


def hanging(lead: str, text: str, width: int, style: str = "") -> Text:
    """The text after its lead; where it is longer than a line, its other lines begin below it, as far as that is left."""
    from rich.text import Text

    indent = " " * min(len(lead), _DEEPEST_INDENT)
    lines = wrap(lead + text, max(width, _FEWEST_COLUMNS), subsequent_indent=indent, drop_whitespace=True)
    return Text("\n".join(lines), style=style)


_DEEPEST_INDENT = 11
_FEWEST_COLUMNS = 20

# -- the machines

_STATUS_COLUMNS = (
    "MACHINE",
    "NAME",
    "STATE",
    "SINCE",
    "BEAT",
    "INSTANCE",
    "GPU",
    "$/H",
    "FENCE",
    "DATA",
    "LAST FAILOVER",
)
_GIVES_WAY = ("FENCE", "GPU", "$/H", "DATA", "BEAT")
"""The columns that a narrow terminal does without, the least important first."""
_GIVES_WAY_AT_LAST = ("LAST FAILOVER", "SINCE")
"""And where even a shortened last column does not fit."""
_GAP = 2
_USUAL_NAME = 20
_FEWEST_OF_A_NAME = 10
_MOST_ALERTS = 6


def status_screen(
    machines: Sequence[Mapping[str, Any]],
    failovers: Mapping[str, Mapping[str, Any]],
    alerts: Sequence[Mapping[str, Any]] = (),
    not_ready: Mapping[str, Mapping[str, Any]] | None = None,
    notices: Sequence[str] = (),
) -> RenderableType:
    """What is wrong with the daemon itself, then one row for each machine, and a sentence for each that is not well.

    `failovers` by id: each machine's last one. `not_ready`: the daemon's own checks that fail, by name. `notices` come last.
    """

    def draw(width: int) -> RenderableType:
        from rich.console import Group

        last = [hanging("", notice, width, "yellow") for notice in notices]
        return Group(_status(machines, failovers, _warnings(alerts, not_ready or {}, width), width), *last)

    return ByWidth(draw)


def _status(
    machines: Sequence[Mapping[str, Any]],
    failovers: Mapping[str, Mapping[str, Any]],
    warnings: Sequence[Text],
    width: int,
) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    reasons = [
        hanging(f"{row['name']}: {row['state']}: ", str(row["because"]), width, style_of(str(row["state"])))
        for row in machines
        if row["state"] not in CALM_STATES
    ]
    return Group(*warnings, _status_table(machines, failovers, width), *reasons, Text(total(machines)))


def _warnings(
    alerts: Sequence[Mapping[str, Any]], not_ready: Mapping[str, Mapping[str, Any]], width: int
) -> list[Text]:
    """A line for each failing check and each open alert, with its age: whoever looks at the table must know first."""
    told = [
        (f"{name}: {check['detail']}", check.get("for_seconds"))
        for name, check in not_ready.items()
        if not any(check["detail"] in alert["text"] for alert in alerts)  # once is enough
    ]
    told += [(str(alert["text"]), alert.get("age_seconds")) for alert in alerts[:_MOST_ALERTS]]
    left = len(alerts) - _MOST_ALERTS
    if left > 0:
        told.append((f"{left} more alerts are open: GET /api/v1/alerts", None))
    return [
        hanging("ATTENTION  ", text if age is None else f"{text}  (for {span(age)})", width, "bold red")
        for text, age in told
    ]


def _status_table(
    machines: Sequence[Mapping[str, Any]], failovers: Mapping[str, Mapping[str, Any]], width: int
) -> Table:
    """Without the least important columns where they do not fit; a name is cut before anything else is."""
    from rich.text import Text

    rows = [_status_cells(row, failovers, with_id=True) for row in machines]
    shown = list(_STATUS_COLUMNS)
    for name in _GIVES_WAY:
        if sum(_widths(rows, shown).values()) > width:
            shown.remove(name)
    if sum(_widths(rows, shown).values()) > width:
        rows = [_status_cells(row, failovers, with_id=False) for row in machines]
    for name in _GIVES_WAY_AT_LAST:
        if sum(_widths(rows, shown, most_of_a_name=_FEWEST_OF_A_NAME).values()) > width:
            shown.remove(name)
    widths = _widths(rows, shown)
    room = max(widths["NAME"] + width - sum(widths.values()), _FEWEST_OF_A_NAME)
    table = columns(*shown, right=("MACHINE", "BEAT", "$/H", "FENCE", "DATA"))
    for row in rows:
        cells = {**row, "NAME": _cut(row["NAME"], room - _GAP)}
        table.add_row(*(Text(cells[name], style=style_of(row[name]) if name == "STATE" else "") for name in shown))
    return table


def _widths(
    rows: Sequence[Mapping[str, str]], shown: Sequence[str], most_of_a_name: int = _USUAL_NAME
) -> dict[str, int]:
    """Of each column with the gap that follows it. A very long name does not cost the others their place."""
    widths = {name: max([len(name), *(len(row[name]) for row in rows)]) + _GAP for name in shown}
    return {**widths, "NAME": min(widths["NAME"], most_of_a_name + _GAP)}


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _status_cells(
    row: Mapping[str, Any], failovers: Mapping[str, Mapping[str, Any]], *, with_id: bool
) -> dict[str, str]:
    price = row.get("price_per_hour")
    cells = (
        str(row["id"]),
        str(row["name"]),
        str(row["state"]),
        span(row.get("since_seconds")),
        beat(row),
        str(row.get("gpu_instance_id") or "-"),
        f"{row['gpu_name']} x{row['num_gpus']}" if row.get("gpu_name") else "-",
        "-" if price is None else f"{price:.2f}",
        str(row["fence"]),
        span(row.get("snapshot_age_seconds")) or "-",
        last_failover(row, failovers, with_id=with_id),
    )
    return dict(zip(_STATUS_COLUMNS, cells, strict=True))


def beat(row: Mapping[str, Any]) -> str:
    """How old its last heartbeat is; `never` where its instance has sent none."""
    if row.get("gpu_instance_id") and row.get("boot_id") is None:
        return "never"
    return span(row.get("heartbeat_age_seconds")) or "-"


def last_failover(row: Mapping[str, Any], failovers: Mapping[str, Mapping[str, Any]], *, with_id: bool = True) -> str:
    """Its id, how it stands and how long it took; without the id where there is no room (`show MACHINE` finds it)."""
    named = row.get("failover_id") or row.get("last_failover_id")
    if not named:
        return "-"
    found = failovers.get(str(named))
    if found is None:
        return str(named)
    took = span(seconds_between(found.get("started_at"), found.get("ended_at")))
    return f"{f'{named} ' if with_id else ''}{found['state']} {took}".rstrip()


def total(machines: Sequence[Mapping[str, Any]]) -> str:
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


def dollars(amount: float | None, digits: int = 2) -> str:
    return "-" if amount is None else f"{amount:.{digits}f}"


def plain(text: str) -> Text:
    """The text as it is: a bracket in it is no style."""
    from rich.text import Text

    return Text(text)


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
    return ByWidth(lambda width: _timeline(failover, now, width))


def _timeline(failover: Mapping[str, Any], now: datetime | None, width: int) -> RenderableType:
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
    lines: list[RenderableType] = [head, hanging(" because   ", str(failover["because"]), width, "dim")]
    evidence = [f"{said['source']}: {said['word']} ({said['detail']})" for said in failover.get("evidence") or ()]
    if evidence:
        lines.append(hanging(" evidence  ", "; ".join(evidence), width, "dim"))
    for attempt in failover["attempts"]:
        lines += _attempt_lines(attempt, (began, end), width, alone=len(failover["attempts"]) == 1)
    lines.append(hanging(" ", _outcome(failover), width))
    return Group(*lines)


def _attempt_lines(
    attempt: Mapping[str, Any], whole: tuple[datetime, datetime], width: int, *, alone: bool
) -> list[RenderableType]:
    lines: list[RenderableType] = []
    if not alone or attempt["code"]:
        failed = f": {attempt['code']}: {attempt['why']}" if attempt["code"] else ""
        lead = f" attempt {attempt['number']} {attempt['strategy']} "
        lines.append(hanging(lead, f"{attempt['status']}{failed}", width, style_of(str(attempt["status"]))))
    for step in attempt["steps"]:
        lines += step_lines(step, attempt, *whole, width)
    return lines


def step_lines(
    step: Mapping[str, Any], attempt: Mapping[str, Any], began: datetime, end: datetime, width: int
) -> list[Text]:
    """The step's line, and its remark on lines of its own where it does not fit beside the bar."""
    line = step_line(step, attempt, began, end)
    if line.cell_len <= width:
        return [line]
    said = remark(step, attempt)
    short = line[: len(line) - len(said)]
    while short.plain.endswith((" ", ":")):
        short.right_crop(1)
    return [short, hanging(" " * _REMARK_INDENT, said, width, "dim")]


_REMARK_INDENT = 6


def step_line(step: Mapping[str, Any], attempt: Mapping[str, Any], began: datetime, end: datetime) -> Text:
    """Name, start, bar, seconds and one remark; cut at the terminal's edge where nobody wraps it."""
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
    text = gave(str(step["name"]), step["output"], attempt) if step["output"] else str(step["error"] or "")
    errors = step.get("errors") or ()
    if step["status"] == "done" and errors:
        text += f" ({len(errors)} errors before: {errors[-1]['why']})"
    undo = step.get("undo")
    return text + (f" [undo {undo['status']}]" if undo else "")


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
