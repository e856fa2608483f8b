"""Every code of a refusal or a failure, found where the code makes it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from daemon.api import problems
from machines.problems import STATUS_OF
from tests.documents.markdown import code, table, wrapped

ROOT = Path(__file__).parents[2]
PACKAGES = ("daemon", "machines", "adapters")


_WITHOUT_A_PLACE = {
    "cancelled": "a person or a program asked for its end",
    "protection_disabled": "the machine's strategy is disabled: nothing was begun",
}
"""Ends that no one call makes."""


@dataclass(frozen=True, order=True)
class Made:
    """One place that makes a problem; what is filled in at run time is shown as `…`."""

    code: str
    status: int | None
    detail: str
    remedy: str


async def page() -> str:
    made = sorted({*_problems(), *_of_the_door()}, key=lambda one: (one.code, one.status or 0, one.detail, one.remedy))
    head = """
    Every refusal bears a stable `code`, what happened, and what mends it, at every door: `application/problem+json` over HTTP, the result of a
    command on Kafka, two lines on the command line. What differs from case to case is shown as `…`.
    """
    parts = ["# Errors", wrapped(head)]
    for name in sorted({one.code for one in made}):
        mine = [one for one in made if one.code == name]
        statuses = sorted({str(status) for one in mine if (status := one.status or STATUS_OF.get(name))})
        parts += [f"## {name}", f"HTTP {', '.join(statuses)}." if statuses else "", _cases(mine)]
    ends = "How an attempt, or a whole failover, ended: in `error`, `warm_pool_error`, `cpu_standby_error` of the answer, and in the timeline."
    parts += ["# Ends of attempts", wrapped(ends), table(("code", "for instance"), _ends())]
    return "\n\n".join(part for part in parts if part)


def as_html() -> str:
    """The same as one page of HTML, which the daemon serves: each code is a place on it."""
    made = sorted({*_problems(), *_of_the_door()}, key=lambda one: (one.code, one.status or 0, one.detail, one.remedy))
    lines = [
        "<!doctype html>",
        '<html lang="en"><meta charset="utf-8"><title>failoverd: errors</title>',
        "<h1>Errors</h1>",
    ]
    for name, cases in groupby(made, key=lambda one: one.code):
        told = [f"<dt>{escape(one.detail)}</dt><dd>{escape(one.remedy)}</dd>" for one in cases]
        lines += [f'<h2 id="{escape(name)}">{escape(name)}</h2>', "<dl>", *dict.fromkeys(told), "</dl>"]
    lines += ["<h1>Ends of attempts</h1>", "<dl>"]
    lines += [f"<dt>{escape(name.strip('`'))}</dt><dd>{escape(detail)}</dd>" for name, detail in _ends()]
    return "\n".join([*lines, "</dl>", "</html>", ""])


def _cases(made: list[Made]) -> str:
    return table(("what happened", "what mends it"), [(one.detail, one.remedy) for one in made])


def _ends() -> list[tuple[str, str]]:
    found = dict(_WITHOUT_A_PLACE)
    for call in _calls("Refused"):
        words = [_text(one) for one in call.args]
        if words and words[0] and "…" not in words[0] and "_" in words[0]:
            found.setdefault(words[0], words[1] if len(words) > 1 and words[1] else "")
    for call in _calls("Step"):
        late = next((_text(one.value) for one in call.keywords if one.arg == "late"), "")
        step = _text(call.args[0])
        if late and step:
            found[late] = found.get(late) or f"the step {step} did not come to its end in time"
    return [(code(name), detail) for name, detail in sorted(found.items())]


def _problems() -> Iterator[Made]:
    for maker, order in _MAKERS.items():
        for call in _calls(maker):
            named = {one.arg: one.value for one in call.keywords if one.arg}
            values = dict(zip(order, call.args, strict=False)) | named
            name = _text(values.get("code"))
            if name is None or "…" in name:
                continue
            status = values.get("status")
            number = status.value if isinstance(status, ast.Constant) and isinstance(status.value, int) else None
            yield Made(name, number, _text(values.get("detail")) or "…", _text(values.get("remedy")) or "…")


_MAKERS = {"Problem": ("status", "code", "detail", "remedy"), "Denied": ("code", "detail", "remedy")}
"""What makes a refusal, and the order of what it takes."""


def _of_the_door() -> Iterator[Made]:
    """What the framework refuses, and who may be away: tables of the HTTP door."""
    for status, (name, detail, remedy) in problems._FRAMEWORK.items():
        yield Made(name, status, re.sub(r"\{\w+\}", "…", detail), remedy)
    for name, remedy in problems._OUTAGES.values():
        yield Made(name, 503, "…", remedy)


def _calls(function: str) -> Iterator[ast.Call]:
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == function:
                yield node


def _text(node: ast.expr | None) -> str | None:
    """A literal, with `…` for what is filled in; None where there is nothing to be read."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (_text(left) or "…") + (_text(right) or "…")
        case _:
            return None
