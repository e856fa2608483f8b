"""The command line: what it prints, what it imports, and the exit codes that scripts rely on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks import cli_start
from daemon.cli_app import app
from machines.states import EDGES, as_mermaid
from tests.servers.process import free_port

CLI = (sys.executable, "-W", "error", "-m", "daemon.cli")
CLEAN_ENV = {name: value for name, value in os.environ.items() if not name.startswith("FAILOVERD_")}
PROGRAMS = ("run", "sim", "demo", "agent", "version", "completion", "export")
READING = (
    "status",
    "top",
    "show",
    "history",
    "report",
    "queue",
    "orphans",
    "check",
    "states",
    "machines",
    "snapshot",
    "logs",
)
ACTING = ("failover", "drill", "cancel", "dlq")


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"FAILOVERD_TOKEN": None, "FAILOVERD_API_URL": None})
    return result.exit_code, result.output


def process(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments],
        cwd=cwd or Path.cwd(),
        env={**CLEAN_ENV, "PYTHONPATH": str(Path.cwd())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def modules_after(*arguments: str) -> tuple[object, set[str]]:
    """The exit code of a command and the modules that its process had imported when it ended."""
    script = (
        "import json, sys\n"
        f"sys.argv = ['failoverd', *{list(arguments)!r}]\n"
        "from daemon.cli import main\n"
        "code = 0\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "print('\\n' + json.dumps([code, sorted(sys.modules)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=CLEAN_ENV, capture_output=True, text=True, timeout=60, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


def test_the_version_is_printed() -> None:
    for way in ("version", "--version"):
        code, text = invoke(way)
        assert code == 0
        assert text.startswith("failoverd 0.")


def test_help_names_every_command_and_begins_with_the_one_to_try_first() -> None:
    code, text = invoke("--help")
    assert code == 0
    assert "failoverd demo" in text
    for name in (*PROGRAMS, *READING, *ACTING):
        assert f"\n  {name} " in text


def test_states_prints_every_edge_of_the_table_with_its_reason() -> None:
    done = process("states")
    assert done.returncode == 0, done.stderr
    for edge in EDGES:
        row = next(line for line in done.stdout.splitlines() if edge.trigger.value in line and edge.because in line)
        assert edge.target.value in row
    assert len(done.stdout.splitlines()) == len(EDGES) + 1
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("arguments", [("states",), ("states", "-o", "json"), ("version",), ("config", "schema")])
def test_what_can_be_written_nowhere_is_told_in_a_line_with_a_code_of_its_own(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*CLI, *arguments], env=CLEAN_ENV, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 74
    first, remedy = done.stderr.splitlines()
    assert first == "error[output_lost] what is to be printed cannot be written: No space left on device"
    assert remedy.startswith("  remedy  ")


def test_states_as_mermaid_and_as_json_show_the_same_table() -> None:
    assert invoke("states", "--mermaid") == (0, as_mermaid())
    code, text = invoke("states", "-o", "json")
    assert code == 0
    assert {(row["from"], row["trigger"], row["to"]) for row in json.loads(text)} == {
        (edge.source.value, edge.trigger.value, edge.target.value) for edge in EDGES
    }


def test_the_agent_starts_without_the_command_line_s_own_libraries() -> None:
    code, modules = modules_after("agent", "--help")
    assert code == 0
    assert "daemon.agent_process" in modules
    assert not modules & {"typer", "rich", "httpx", "pydantic", "sqlalchemy", "fastapi", "daemon.cli_app"}


def test_an_agent_that_is_told_too_little_exits_with_2() -> None:
    done = process("agent", "--machine-id", "1")
    assert done.returncode == 2
    assert "nobody to beat to" in done.stderr


HEAVY = {
    "adapters",
    "machines",
    "events",
    "sqlalchemy",
    "sqlmodel",
    "alembic",
    "fastapi",
    "uvicorn",
    "asyncssh",
    "aiokafka",
}
PROVIDERS = {
    "google",
    "googleapiclient",
    "b2sdk",
    "apscheduler",
    "structlog",
    "msgspec",
    "transitions",
    "boto3",
    "apprise",
}


@pytest.mark.parametrize(
    "verb",
    [
        "--help",
        "version",
        "status",
        "history",
        "report",
        "machines",
        "show 1",
        "failover 1 --dry-run",
        "failover 1 --yes",
        "drill 1",
        "cancel 1 --yes",
        "snapshot list 1",
        "logs 1",
        "dlq list",
        "dlq replay 0-0",
        "orphans",
        "queue",
        "check",
    ],
)
def test_no_verb_that_asks_the_daemon_loads_an_adapter_a_database_or_a_provider(verb: str) -> None:
    asks = verb not in ("--help", "version")
    where = ["--url", f"http://127.0.0.1:{free_port()}"] if asks else []
    code, modules = modules_after(*verb.split(), *where)
    # Nagios' own code for critical is what `check` says of a daemon that does not answer.
    assert code == (0 if not asks else 2 if verb == "check" else 8)
    packages = {name.partition(".")[0] for name in modules}
    # typer itself loads pydantic where a command has options; nothing of ours may.
    assert not packages & (HEAVY | PROVIDERS)


def test_help_and_status_cost_little_cpu_beside_a_bare_interpreter() -> None:
    _, help_start, status_start = cli_start.measure(3)
    assert help_start.ratio < cli_start.HELP_RATIO
    assert status_start.ratio < cli_start.STATUS_RATIO


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_asks_the_program_itself(shell: str) -> None:
    code, text = invoke("completion", shell)
    assert code == 0
    assert "_FAILOVERD_COMPLETE" in text


def test_the_shell_is_told_which_verbs_and_options_could_stand_next() -> None:
    def offered(words: str, place: int) -> set[str]:
        asked = {"_FAILOVERD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
        done = subprocess.run(CLI, env={**CLEAN_ENV, **asked}, capture_output=True, text=True, timeout=60, check=True)
        return set(done.stdout.split())

    assert offered("failoverd sta", 1) == {"status", "states"}
    assert "--output" in offered("failoverd status --o", 2)


def test_export_prints_both_contracts_without_a_daemon() -> None:
    code, text = invoke("export", "openapi")
    assert code == 0
    assert json.loads(text)["openapi"].startswith("3.1")
    code, text = invoke("export", "asyncapi", "--prefix", "eu.", "-o", "yaml")
    assert code == 0
    assert yaml.safe_load(text)["channels"]["commands"]["address"] == "eu.failover.commands.v1"


def test_a_daemon_that_does_not_answer_is_8_and_the_remedy_names_how_to_start_it() -> None:
    code, text = invoke("status", "--url", f"http://127.0.0.1:{free_port()}")
    assert code == 8
    assert "error[unreachable]" in text
    assert "failoverd run" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--url", "nowhere"),
        ("status", "--token-file", "/no/such/file"),
        ("status", "--no-such-option"),
        ("failover",),
        ("failover", "1", "--strategy", "disabled"),
        ("demo", "--machines", "2", "--kill", "3"),
        ("sim", "--listen", "8.8.8.8:1"),
        ("sim", "--listen", "127.0.0.1"),
        ("sim", "--agents-url", "http://127.0.0.1:1"),
        ("sim", "--agents-url", "http://127.0.0.1:1", "--agents-secret", "x", "--agents-kafka", "127.0.0.1:1"),
        ("run", "--config", "/no/such/file"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    code, text = invoke(*arguments)
    assert code == 2, text


@pytest.mark.parametrize(
    ("yaml", "named"),
    [
        ("httpp: {port: 1}", "httpp"),
        ("http: {port: many}", "http.port"),
        ("http: {port: 0}", "vast.api_key"),
        ("- just\n- a list", "mapping"),
        ("http: {port: [", "is not YAML"),
    ],
)
def test_wrong_settings_are_2_and_the_field_is_named(tmp_path: Path, yaml: str, named: str) -> None:
    config = tmp_path / "failoverd.yaml"
    config.write_text(yaml)
    done = process("run", "--config", str(config), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "error[invalid_settings]" in done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told_with_its_remedy(tmp_path: Path) -> None:
    config = tmp_path / "failoverd.yaml"
    config.write_text("vast: {url: 'http://127.0.0.1:1', api_key: any}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        daemon = process("run", "--config", str(config), "--http-port", port, cwd=tmp_path)
        world = process("sim", "--listen", f"127.0.0.1:{port}")
    for done in (daemon, world):
        assert done.returncode == 2
        assert "remedy" in done.stderr
        assert "Traceback" not in done.stderr
