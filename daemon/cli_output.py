"""How every reading verb prints its answer: one place that renders rows as a table, and documents for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from daemon import screens

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Row: TypeAlias = Mapping[str, Any]
Cell: TypeAlias = Callable[[Row], str]
pause = threading.Event().wait
"""A pause that Ctrl-C ends; real seconds, for a person is watching."""
_WIDE = 1000
"""Columns of a table that must not be cut: the terminal wraps it, or the pager scrolls."""


class Output(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"

    @property
    def is_for_people(self) -> bool:
        return self in (Output.TABLE, Output.WIDE)


@dataclass(frozen=True, slots=True)
class Column:
    """One member of a row. People see `cell` under the title, CSV has the member itself under its name."""

    name: str
    title: str
    cell: Cell | None = None
    right: bool = False
    gives_way: bool = False
    """Folded where the terminal is narrow."""
    only_wide: bool = False

    def shown(self, row: Row) -> str:
        if self.cell is not None:
            return self.cell(row)
        value = row.get(self.name)
        return "-" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb found: the document for programs, and the rows in it for tables and CSV."""

    document: Any
    rows: Sequence[Row]
    columns: Sequence[Column]
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    screen: Callable[[], RenderableType] | None = None
    """Drawn instead of the table where a table says too little."""


def emit(answer: Answer, output: Output) -> None:
    """Print it once."""
    match output:
        case Output.JSON:
            print_json(answer.document)
        case Output.YAML:
            write(as_yaml(answer.document))
        case Output.CSV:
            write(as_csv(answer, with_head=True))
        case Output.TABLE | Output.WIDE:
            console(output).print(screen_of(answer, output))


Read: TypeAlias = Callable[[], tuple[Answer, bool]]
"""An answer, and whether it is the last one."""


def show(read: Read, output: Output, every_s: float, *, live: bool, endless: bool = False) -> None:
    """Print what `read` gives until it says that it is the last one, or until Ctrl-C.

    With `live` people see it move; programs get JSON by the line, YAML by the document, CSV under one head. Without a
    terminal people get the last one alone, or each where it is endless.
    """
    if not live:
        emit(read()[0], output)
        return
    try:
        if output.is_for_people:
            _show_people(read, output, every_s, endless=endless)
        else:
            _show_programs(read, output, every_s)
    except KeyboardInterrupt:
        print("(it goes on without a watcher)", file=sys.stderr)


def _show_programs(read: Read, output: Output, every_s: float) -> None:
    answer, is_last = read()
    write(_piece(answer, output, is_first=True))
    while not is_last:
        pause(every_s)
        answer, is_last = read()
        write(_piece(answer, output, is_first=False))


def _piece(answer: Answer, output: Output, *, is_first: bool) -> str:
    if output is Output.JSON:
        return json.dumps(answer.document, ensure_ascii=False) + "\n"
    if output is Output.YAML:
        return "---\n" + as_yaml(answer.document)
    return as_csv(answer, with_head=is_first)


def _show_people(read: Read, output: Output, every_s: float, *, endless: bool) -> None:
    out = console(output)
    answer, is_last = read()
    if not out.is_terminal:
        while not is_last:
            if endless:
                out.print(screen_of(answer, output))
            pause(every_s)
            answer, is_last = read()
        out.print(screen_of(answer, output))
        return
    from rich.live import Live

    with Live(screen_of(answer, output), console=out, auto_refresh=False) as view:
        while not is_last:
            pause(every_s)
            answer, is_last = read()
            view.update(screen_of(answer, output), refresh=True)


def console(output: Output = Output.TABLE) -> Console:
    return screens.console(width=_WIDE if output is Output.WIDE else None)


def screen_of(answer: Answer, output: Output) -> RenderableType:
    """The screen or the table, and the lines around it."""
    from rich.console import Group
    from rich.text import Text

    if answer.screen is not None and output is Output.TABLE:
        return answer.screen()
    body = [_table(answer, output)] if answer.rows else []
    return Group(*map(Text, answer.before), *body, *map(Text, answer.after))


def _table(answer: Answer, output: Output) -> RenderableType:
    shown = [column for column in answer.columns if output is Output.WIDE or not column.only_wide]
    right = [column.title for column in shown if column.right]
    wide = [column.title for column in shown if column.gives_way]
    table = screens.columns(*(column.title for column in shown), right=right, wide=wide)
    from rich.text import Text

    for row in answer.rows:
        cells = [(column, column.shown(row)) for column in shown]
        table.add_row(*(Text(cell, style=screens.style_of(cell) if c.name == "state" else "") for c, cell in cells))
    return table


# -- for programs


def print_json(value: Any) -> None:
    """One document, in one piece."""
    write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def as_yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120))


def as_csv(answer: Answer, *, with_head: bool) -> str:
    """Every column (RFC 4180): numbers and times as the API has them, lists and objects as JSON."""
    paper = io.StringIO()
    writer = csv.writer(paper)
    if with_head:
        writer.writerow([column.name for column in answer.columns])
    for row in answer.rows:
        writer.writerow([_plain(row.get(column.name)) for column in answer.columns])
    return paper.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def write(text: str) -> None:
    """Raise NobodyReads where the reader has gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        screens.leave_the_pipe()
        raise screens.NobodyReads from None
