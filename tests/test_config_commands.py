"""`failoverd config`: init, check, show with origins, schema; and that nothing secret is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from daemon.cli_local import config_app
from daemon.setting_schema import schema, words
from daemon.setting_show import leaves
from daemon.settings import PolicySection, Settings, read
from machines.model import Mode

SECRET = "s3cr3t-of-mine"
FULL = f"""
http: {{token: "{SECRET}"}}
database: "postgresql://me:{SECRET}@host/name?password={SECRET}"
vast: {{api_key: "{SECRET}", webhook_secret: "{SECRET}"}}
kafka: {{bootstrap: "h:1", security_protocol: SASL_SSL, sasl_username: me, sasl_password: "{SECRET}"}}
snapshots: {{kind: s3, bucket: abc, access_key_id: id, secret_access_key: "{SECRET}", password: "{SECRET}"}}
notify:
  heartbeat_url: "https://hc.example/{SECRET}"
  channels:
    - {{name: ops, kind: apprise, url: "json://{SECRET}@h/{SECRET}"}}
    - {{name: hook, kind: webhook, url: "https://h/{SECRET}", secret: "{SECRET}"}}
    - {{name: pager, kind: pagerduty, routing_key: "{SECRET}"}}
machines:
  - {{id: 7, name: alpha, env: {{TOKEN: "{SECRET}"}}, onstart: "login {SECRET}", image_login: "-u me -p {SECRET} r.example"}}
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("FAILOVERD_HTTP__PORT", "9000")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(config_app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_init_writes_a_file_that_is_right_and_that_only_its_owner_reads(tmp_path: Path) -> None:
    code, said, _ = run("init")
    file = tmp_path / "failoverd.yaml"
    assert code == 0
    assert "failoverd config check" in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert read(file, {}).settings == Settings(policy=PolicySection(auto_failover="observe"))


def test_what_begins_with_the_starting_file_is_only_observed(tmp_path: Path) -> None:
    run("init")
    settings = read(tmp_path / "failoverd.yaml", {}).settings
    assert settings.policy.policy().auto_failover is Mode.OBSERVE


def test_everything_in_the_starting_file_can_be_switched_on(tmp_path: Path) -> None:
    run("init")
    text = (tmp_path / "failoverd.yaml").read_text()
    body = text[text.index("state_dir") :]
    lines = [
        line.replace("# ", "", 1) if line.startswith("# ") and ": " not in line[2:3] else line
        for line in body.splitlines()
    ]
    switched = "\n".join(line.replace("#   ", "  ", 1) for line in lines)
    found = read(_written(tmp_path, switched), {}).settings
    assert found.kafka is not None
    assert [machine.id for machine in found.machines] == [1]
    assert found.machines[0].auto_failover is None  # The policy's holds: to change that one line is enough.
    assert found.policy.auto_failover == "observe"
    assert {one.kind for one in found.notify.channels} == {"apprise", "pagerduty", "webhook"}
    assert found.snapshots.kind == "s3"


def _written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return file


def test_init_leaves_a_file_alone_that_is_there() -> None:
    Path("failoverd.yaml").write_text("speed: 2")
    code, _, error = run("init")
    assert code == 5
    assert "error[file_exists]" in error
    assert Path("failoverd.yaml").read_text() == "speed: 2"


def test_check_says_each_fault_with_its_line_and_is_2(tmp_path: Path) -> None:
    code, said, error = run("check", str(_written(tmp_path, "speed: 0\nhtttp: {}")))
    assert code == 2
    assert said == ""
    assert [line.startswith("error[invalid_settings] ") for line in error.splitlines()] == [True, True]
    assert "c.yaml:1: speed" in error
    code, said, _ = run("check", str(_written(tmp_path, "speed: 0")), "-o", "json")
    told = json.loads(said)
    assert (code, told["ok"], len(told["errors"])) == (2, False, 1)


def test_check_warns_of_what_is_unwise_and_strict_makes_it_a_fault(tmp_path: Path) -> None:
    file = str(
        _written(
            tmp_path, "policy:\n  max_spend: 0\n  boot_timeout_s: 60\nvast: {url: 'http://127.0.0.1:1', api_key: any}"
        )
    )
    code, said, error = run("check", file)
    assert code == 0
    assert "no faults, 2 warnings" in said
    assert "c.yaml:2: policy.max_spend: 0 is no bound" in error
    assert run("check", file, "--strict")[0] == 2


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("vast: {api_key: ''}", "c.yaml:1: vast.api_key: is empty"),
        ("state_dir: /proc/x", "c.yaml:1: state_dir: /proc cannot be written"),
        ("speed: 1\nssh: {key_file: /proc/x/key}", "c.yaml:2: ssh.key_file: /proc/x/key: /proc cannot be written"),
        ("ssh: {key_file: c.yaml}", "c.yaml:1: ssh.key_file: c.yaml: it holds no private key"),
        ("database: sqlite:////no/such/f.db", "c.yaml:1: database: /no/such is not there"),
        ("http: {host: 0.0.0.0}", "c.yaml:1: http.host: 0.0.0.0 can be reached by others, and there is no http.token"),
        ("http:\n  host: 0.0.0.0\n  token: x", "c.yaml:3: http.token: is shorter than 32 characters"),
    ],
)
def test_check_finds_what_run_would_refuse_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, wrong: str
) -> None:
    if "vast" not in text:
        monkeypatch.setenv("FAILOVERD_VAST__API_KEY", "any")
    code, _, error = run("check", str(_written(tmp_path, text)))
    [line] = [line for line in error.splitlines() if line.startswith("error[")]
    assert code == 2
    assert wrong in line
    assert "; remedy: " in line
    assert [file.name for file in tmp_path.iterdir()] == ["c.yaml"]


def test_a_long_token_opens_the_api_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVERD_VAST__API_KEY", "any")
    code, _, error = run("check", str(_written(tmp_path, f"http: {{host: 0.0.0.0, token: {'x' * 32}}}")))
    assert code == 0
    assert "http" not in error


def test_without_a_key_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert run("check", str(_written(tmp_path, "")))[0] == 2


def test_show_is_a_file_that_says_the_same_without_its_secrets(tmp_path: Path) -> None:
    code, said, _ = run("show", str(_written(tmp_path, FULL)))
    assert code == 0
    assert SECRET not in said
    tree = yaml.safe_load(said)
    assert tree["http"]["port"] == 9000
    assert tree["machines"] == [
        {"name": "alpha", "env": {"TOKEN": "**********"}, "onstart": "**********", "image_login": "**********", "id": 7}
    ]


@pytest.mark.parametrize("output", ["text", "json"])
def test_no_secret_is_shown_with_origins_either(tmp_path: Path, output: str) -> None:
    code, said, error = run("show", str(_written(tmp_path, FULL)), "--origin", "-o", output)
    assert code == 0
    assert SECRET not in said + error


def test_show_says_where_each_value_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "vast__api_key").write_text(f"{SECRET}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    code, said, _ = run("show", str(_written(tmp_path, "\nspeed: 2")), "--origin", "-o", "json")
    told = json.loads(said)
    assert code == 0
    assert told["http.port"] == {"value": 9000, "source": "environment", "origin": "FAILOVERD_HTTP__PORT"}
    assert told["vast.api_key"] == {"value": "**********", "source": "credential", "origin": "credential vast__api_key"}
    assert told["speed"]["source"] == "file"
    assert told["speed"]["origin"].endswith("c.yaml:2")
    assert told["log_level"]["source"] == "default"


def test_flags_go_before_environment_before_credentials_before_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name in ("http__port", "http__host", "log_level"):
        (folder / name).write_text({"http__port": "3", "http__host": "127.0.0.3", "log_level": "error"}[name])
    file = _written(tmp_path, "http: {port: 4, host: 127.0.0.4}\nlog_level: debug\nspeed: 4")
    variables = {"FAILOVERD_HTTP__PORT": "2", "FAILOVERD_HTTP__HOST": "127.0.0.2", "CREDENTIALS_DIRECTORY": str(folder)}
    loaded = read(file, variables, http__port=1)
    found = loaded.settings
    assert (found.http.port, found.http.host, found.log_level, found.speed) == (1, "127.0.0.2", "error", 4)
    origins = [
        loaded.layers.origin(place).source.value for place in (("http", "port"), ("http", "host"), ("log_level",))
    ]
    assert origins == ["flag", "environment", "credential"]


def test_the_schema_is_one_and_takes_what_the_settings_take(tmp_path: Path) -> None:
    code, said, _ = run("schema")
    document = json.loads(said)
    assert code == 0
    Draft202012Validator.check_schema(document)
    run("init")
    validator = Draft202012Validator(document)
    assert list(validator.iter_errors(yaml.safe_load((tmp_path / "failoverd.yaml").read_text()))) == []
    assert list(validator.iter_errors(yaml.safe_load(FULL))) == []
    assert list(validator.iter_errors({"http": {"prt": 1}}))
    assert document == schema()
    assert "without one, one is made" in words(type(Settings().http))["token"]


def test_every_setting_that_may_be_secret_is_masked() -> None:
    named = [leaf.name for leaf in leaves(Settings())]
    assert len(named) == len(set(named))
    assert "vast.api_key" in named
