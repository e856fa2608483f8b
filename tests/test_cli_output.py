"""Every reading verb in every form, over a socket: what the API really answers, held against its own schema."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema
import pytest
import yaml
from rich.panel import Panel
from rich.text import Text
from typer.testing import CliRunner

from daemon.cli_app import app
from daemon.cli_dlq import COLUMNS as LETTER_COLUMNS
from daemon.cli_history import REPORT_COLUMNS
from daemon.cli_logs import COLUMNS as LOG_COLUMNS
from daemon.cli_orphans import COLUMNS as ORPHAN_COLUMNS
from daemon.cli_output import Column
from daemon.cli_queue import COLUMNS as QUEUE_COLUMNS
from daemon.cli_show import HISTORY_COLUMNS, MACHINE_COLUMNS, STEP_COLUMNS
from daemon.cli_snapshots import COLUMNS as SNAPSHOT_COLUMNS
from daemon.screens import console, harmless
from machines.journal import Entry, Mark
from machines.model import MachineId
from tests.test_api_stage import Stage, stage
from tests.test_dead_letters import bury

PATHS = (
    "/api/v1/machines?limit=500",
    "/api/v1/machines/123",
    "/api/v1/machines/124",
    "/api/v1/machines/123/snapshots?limit=20",
    "/api/v1/machines/123/logs?tail=100&host=false",
    "/api/v1/failovers?limit=1",
    "/api/v1/failovers?limit=200",
    "/api/v1/fleet",
    "/api/v1/alerts",
    "/api/v1/orphans",
    "/api/v1/report?since=30d",
    "/api/v1/dead-letters?limit=50",
    "/readyz?verbose=true",
    "/livez",
)
SCHEMAS = {
    "machines": ("MachinesAnswer", "machines"),
    "machines show 123": ("MachineAnswer", None),
    "show last": ("FailoverTimeline", None),
    "history": ("FailoversAnswer", "failovers"),
    "report": ("ReportAnswer", None),
    "snapshot list 123": ("SnapshotsAnswer", "snapshots"),
    "logs 123": ("LogsAnswer", "lines"),
    "dlq list": ("DeadLettersAnswer", "dead_letters"),
}
VERBS: Mapping[str, tuple[Column, ...] | None] = {
    "status": MACHINE_COLUMNS,
    "machines": MACHINE_COLUMNS,
    "machines show 123": None,
    "show last": STEP_COLUMNS,
    "history": HISTORY_COLUMNS,
    "report": REPORT_COLUMNS,
    "queue": QUEUE_COLUMNS,
    "orphans": ORPHAN_COLUMNS,
    "snapshot list 123": SNAPSHOT_COLUMNS,
    "logs 123": LOG_COLUMNS,
    "dlq list": LETTER_COLUMNS,
    "states": None,
}
"""Each with the columns of its CSV; None where the document itself names them."""


async def recorded() -> dict[str, tuple[int, bytes]]:
    """What a daemon answers that has had a failover, a dead letter and a dead machine."""
    async with stage() as s:
        await _live(s)
        paths = [*PATHS, f"/api/v1/failovers/{(await s.stored(123)).last_failover}"]
        answers = {path: await s.http.get(path) for path in paths}
        answers["/openapi.json"] = await s.http.get("/openapi.json")
    return {path: (answer.status_code, answer.content) for path, answer in answers.items()}


async def _live(s: Stage) -> None:
    await s.machine(123)
    await s.machine(124, 456790)
    s.outside.make_ready()
    waiting = await s.begin()
    running = (await s.stored(123)).failover
    assert running is not None
    for entry in (
        Entry("check_standby", Mark.STARTED, s.clock.now()),
        Entry("check_standby", Mark.DONE, s.clock.now()),
    ):
        await s.store.transact(
            lambda tx, one=entry: tx.append_entry(MachineId(123), running.id, running.attempt, running.fence, one)  # type: ignore[misc]
        )
    await s.clock.advance(42)
    await s.win()
    await waiting
    await bury(s, b'{"command":7}', ce_id="c1")


class Answers(BaseHTTPRequestHandler):
    answers: Mapping[str, tuple[int, bytes]] = {}

    def do_GET(self) -> None:
        status, body = self.answers.get(
            self.path, (404, b'{"code": "not_recorded", "detail": "%s"}' % self.path.encode())
        )
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@contextmanager
def served(found: Mapping[str, tuple[int, bytes]]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Recorded", (Answers,), {"answers": found}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[int, bytes]]:
    import asyncio

    return asyncio.run(recorded())


@pytest.fixture(scope="module")
def url(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    with served(answers) as found:
        yield found


def printed(verb: str, url: str, form: str) -> str:
    words = [*verb.split(), "-o", form, *([] if verb == "states" else ["--url", url])]
    result = CliRunner().invoke(app, words, env={"FAILOVERD_TOKEN": "t", "COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_json_and_yaml_are_one_document_and_csv_has_every_column(verb: str, url: str) -> None:
    document = json.loads(printed(verb, url, "json"))
    assert yaml.safe_load(printed(verb, url, "yaml")) == document
    head, *rows = list(csv.reader(io.StringIO(printed(verb, url, "csv"))))
    assert all(len(row) == len(head) for row in rows)
    columns = VERBS[verb]
    if columns is not None:
        assert head == [column.name for column in columns]
    assert rows or verb in ("queue", "orphans")


@pytest.mark.parametrize("verb", SCHEMAS)
def test_the_document_is_what_the_openapi_document_says(
    verb: str, url: str, answers: dict[str, tuple[int, bytes]]
) -> None:
    schemas = json.loads(answers["/openapi.json"][1])["components"]
    schema = {"$ref": f"#/components/schemas/{SCHEMAS[verb][0]}", "components": schemas}
    found = json.loads(printed(verb, url, "json"))
    found.setdefault("next_cursor", None)  # Of a list that was read page by page, all pages are there.
    assert [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(found)] == []


@pytest.mark.parametrize("verb", VERBS)
def test_tables_are_plain_text_that_fits_and_wide_ones_lose_nothing(verb: str, url: str) -> None:
    table, wide = printed(verb, url, "table"), printed(verb, url, "wide")
    assert "\x1b" not in table + wide
    assert table.strip()
    assert max(map(len, table.splitlines())) <= 80 or verb == "states"
    columns = VERBS[verb]
    if columns is not None and verb not in ("queue", "orphans", "logs 123"):
        assert all(column.title in wide for column in columns)


def test_times_and_numbers_in_csv_are_the_apis_own(url: str) -> None:
    (row,) = list(csv.DictReader(io.StringIO(printed("history", url, "csv"))))
    assert (row["state"], row["machine_id"], row["total_ms"]) == ("succeeded", "123", "42000")
    assert row["started_at"] == "2026-11-23T12:00:00+00:00"


def test_the_report_sums_up_the_failovers(url: str) -> None:
    text = printed("report", url, "table")
    assert "failovers 1: 1 succeeded, 0 failed, 0 cancelled, 0 run; success rate 100.0%" in text
    assert "time to recover (MTTR) 42.0s, p95 42.0s" in text


def test_status_in_one_line(url: str) -> None:
    result = CliRunner().invoke(app, ["status", "--short", "--url", url], env={"FAILOVERD_TOKEN": "t"})
    assert result.stdout == "1/2 well · 1 not well\n" or "2/2 well" in result.stdout


@pytest.mark.parametrize(("arguments", "code", "word"), [(["--live"], 0, "OK"), ([], 0, "OK")])
def test_check_speaks_as_nagios_wants_it(arguments: list[str], code: int, word: str, url: str) -> None:
    result = CliRunner().invoke(app, ["check", *arguments, "--url", url], env={"FAILOVERD_TOKEN": "t"})
    assert result.exit_code == code, result.output
    assert result.stdout.startswith(f"FAILOVERD {word} - ")


def test_top_needs_a_terminal_and_says_what_does_not(url: str) -> None:
    result = CliRunner().invoke(app, ["top", "--url", url], env={"FAILOVERD_TOKEN": "t"})
    assert result.exit_code == 2
    assert "failoverd status -w" in result.stderr


def test_what_a_machine_said_commands_no_terminal() -> None:
    """Where our own colours are."""
    said = "\x1b[2J\x1b]0;mine\x07all is well\x9b1m"
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    screen = console(stream, width=60)
    screen.print(Text(said, style="red"), Panel(said))
    shown = stream.getvalue()
    assert "all is well" in shown
    assert "\x1b[31m" in shown
    assert not any(harm in shown for harm in ("\x1b[2J", "\x1b]0", "\x07", "\x9b"))


def test_what_a_container_wrote_commands_no_terminal() -> None:
    assert harmless("\x1b[31mred\x1b[0m\tand \x1b]0;title\x07more\x00\r") == "red\tand more"
