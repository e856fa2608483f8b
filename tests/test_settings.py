"""The configuration: where each value comes from, what is refused, and that no refusal tells a secret."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from daemon.environment import ELSEWHERE
from daemon.setting_faults import wanted
from daemon.settings import MachineEntry, PolicySection, Settings, SettingsError, load
from machines.model import Mode, Setting
from machines.policy import Policy, plain

ROOT = Path(__file__).parents[1]
SECRET = "s3cr3t"


def said(tmp_path: Path, yaml: str, **variables: str) -> Settings:
    """What that file and that environment give."""
    config = tmp_path / "failoverd.yaml"
    config.write_text(yaml)
    return load(config, variables)


def refused(tmp_path: Path, yaml: str, **variables: str) -> list[str]:
    """The lines of the refusal, with the file's bare name and without its line numbers."""
    with pytest.raises(SettingsError) as error:
        said(tmp_path, yaml, **variables)
    told = str(error.value).replace(f"{tmp_path}/", "").splitlines()
    return [re.sub(r"^failoverd\.yaml:\d+: ", "failoverd.yaml: ", line) for line in told]


# -- where a value comes from


def test_the_environment_goes_before_the_file_field_by_field(tmp_path: Path) -> None:
    found = said(tmp_path, "http: {port: 1, host: 127.0.0.2}\ntopics:", FAILOVERD_HTTP__PORT="2")
    assert (found.http.port, found.http.host) == (2, "127.0.0.2")
    assert said(tmp_path, "kafka:", FAILOVERD_KAFKA__BOOTSTRAP="h:1").kafka is not None


@pytest.mark.parametrize("name", PolicySection.model_fields)
def test_every_field_of_the_policy_can_be_set_by_the_environment(tmp_path: Path, name: str) -> None:
    usual = plain(Policy())[name]
    policy = said(tmp_path, "", **{f"FAILOVERD_POLICY__{name.upper()}": str(usual)}).policy.policy()
    assert policy == Policy()
    assert type(plain(policy)[name]) is type(usual)


def test_lists_and_sections_come_as_json(tmp_path: Path) -> None:
    variables = {
        "FAILOVERD_MACHINES": '[{"id": 1, "name": "alpha", "gpu_instance_id": 7001}]',
        "FAILOVERD_SSH__WITNESSES": '["127.0.0.1:22"]',
        "FAILOVERD_POLICY": '{"max_price": 3}',
        "FAILOVERD_POLICY__MAX_CONCURRENT": "4",
        "FAILOVERD_GCE__PROJECT": "my-project",
        "FAILOVERD_GCE__ZONES": '["europe-west4-a", "europe-west4-b"]',
    }
    found = said(tmp_path, "", **variables)
    assert [machine.name for machine in found.machines] == ["alpha"]
    assert found.ssh.witnesses == ["127.0.0.1:22"]
    assert (found.policy.max_price, found.policy.max_concurrent) == (3, 4)
    assert found.gce is not None
    assert (found.gce.project, found.gce.zones) == ("my-project", ["europe-west4-a", "europe-west4-b"])


def test_a_fault_is_blamed_on_where_the_value_came_from(tmp_path: Path) -> None:
    lines = refused(tmp_path, "policy: {max_price: no}\nspeed: 0", FAILOVERD_POLICY__MAX_PRICE="five")
    assert {line.partition(": ")[0] for line in lines} == {"FAILOVERD_POLICY__MAX_PRICE", "failoverd.yaml"}
    [line] = refused(tmp_path, "kafka: {sasl_username: me}", FAILOVERD_HTTP__PORT="1")
    assert line.startswith("failoverd.yaml: kafka.bootstrap: is missing")


def test_settings_that_are_made_by_hand_take_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILOVERD_HTTP__PORT", "1")
    assert Settings().http.port == 8787


# -- unknown names


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("FAILOVERD_HTP__PORT", "FAILOVERD_HTTP__PORT"),
        ("FAILOVERD_HTTP__PRT", "FAILOVERD_HTTP__PORT"),
        ("FAILOVERD_VAST_API_KEY", "FAILOVERD_VAST__API_KEY"),
        ("FAILOVERD_SPED", "FAILOVERD_SPEED"),
    ],
)
def test_an_unknown_variable_is_an_error_that_says_what_was_meant(tmp_path: Path, variable: str, meant: str) -> None:
    [line] = refused(tmp_path, "", **{variable: SECRET})
    assert line.startswith(f"{variable}: ")
    assert f"did you mean {meant}?" in line
    assert SECRET not in line


@pytest.mark.parametrize(("yaml", "meant"), [("htttp: {}", "http"), ("policy: {max_pric: 1}", "max_price")])
def test_an_unknown_name_in_the_file_is_an_error_that_says_what_was_meant(
    tmp_path: Path, yaml: str, meant: str
) -> None:
    [line] = refused(tmp_path, yaml)
    assert f"did you mean {meant}?" in line
    assert "known are" in line


def test_the_variables_of_agents_commands_and_tests_are_not_the_daemons(tmp_path: Path) -> None:
    others = dict.fromkeys([*ELSEWHERE, "FAILOVERD_TEST_ANYTHING"], "x")
    assert said(tmp_path, "", **others) == Settings()


def test_every_variable_that_our_code_reads_is_known(tmp_path: Path) -> None:
    text = "".join(path.read_text() for folder in ("daemon", "adapters") for path in (ROOT / folder).rglob("*.py"))
    named = set(re.findall(r'"(FAILOVERD_[A-Z]+(?:_[A-Z]+)*)"', text)) - {"FAILOVERD_KAFKA"}
    assert named
    assert sorted(named - ELSEWHERE) == []


# -- secrets


@pytest.mark.parametrize(
    "yaml",
    [
        "kafka: {sasl_password: s3cr3t}",
        "kafka: {bootstrap: x, sasl_pasword: s3cr3t}",
        "kafka: {bootstrap: s3cr3t}",
        "vast: s3cr3t",
        "vast: {api_key: [s3cr3t]}",
        "vast: {url: 'http://user:s3cr3t@host'}",
        "http: {token: 'a s3cr3t'}",
        "http: s3cr3t",
        "http: {port: s3cr3t}",
        "policy: {max_price: s3cr3t}",
        "database: 'postgresql://user:s3cr3t@host:port/name'",
        "database: 'mysql://user:s3cr3t@host/name'",
        "machines: [{id: 1, env: {A: [s3cr3t]}}]",
        'token: "s3cr3t',
        "password: *s3cr3t",
        "password: !s3cr3t!x y",
        "a: s3cr3t: b",
        "- s3cr3t",
    ],
)
def test_no_refusal_tells_a_value_that_may_be_secret(tmp_path: Path, yaml: str) -> None:
    lines = refused(tmp_path, yaml)
    assert SECRET not in "".join(lines)
    assert all("; remedy: " in line for line in lines)


@pytest.mark.parametrize(
    "variable", ["FAILOVERD_VAST", "FAILOVERD_KAFKA", "FAILOVERD_MACHINES", "FAILOVERD_HTTP__PORT"]
)
def test_no_refusal_of_a_variable_tells_its_value(tmp_path: Path, variable: str) -> None:
    [line] = refused(tmp_path, "", **{variable: "[{s3cr3t"})
    assert SECRET not in line
    assert line.startswith(f"{variable}: ")
    assert "; remedy: " in line


# -- what a field may be


@pytest.mark.parametrize(
    ("yaml", "must_be"),
    [
        ("max_price: .nan", "a number above 0 up to 1000 (found NaN)"),
        ("max_price: .inf", "a number above 0 up to 1000 (found Infinity)"),
        ("max_candidates: 2.5", "a whole number from 1 to 80 (found 2.5)"),
        ("max_candidates: true", "a whole number from 1 to 80 (found true)"),
        ("candidate_width: 0", "a whole number from 1 to 5 (found 0)"),
        ("mass_silence_fraction: 7", "a number above 0 up to 1 (found 7)"),
        ("grace_factor: -1", "a number from 1 to 100 (found -1)"),
        ("max_concurrent: 0", "a whole number from 1 to 100000 (found 0)"),
        ("probe_every_s: [1]", "a number from 0.1 to 3600 (found a list)"),
    ],
)
def test_nonsense_in_the_policy_is_refused_with_what_it_must_be(tmp_path: Path, yaml: str, must_be: str) -> None:
    [line] = refused(tmp_path, f"policy: {{{yaml}}}")
    name = yaml.partition(":")[0]
    assert line.startswith(f"failoverd.yaml: policy.{name}: must be {must_be}; remedy: write it like `{name}: ")


@pytest.mark.parametrize(
    ("yaml", "field", "other"),
    [
        ("evidence_max_age_s: 5", "evidence_max_age_s", "probe_every_s"),
        ("grace_cap_s: 2", "grace_cap_s", "grace_floor_s"),
        ("first_probe_again_s: 20", "probe_every_s", "first_probe_again_s"),
        ("max_candidates: 1", "max_candidates", "candidate_width"),
    ],
)
def test_fields_of_the_policy_that_contradict_each_other_are_refused(
    tmp_path: Path, yaml: str, field: str, other: str
) -> None:
    [line] = refused(tmp_path, f"policy: {{{yaml}}}")
    assert f"policy.{field}: " in line
    assert f"below {other}" in line


def test_the_section_of_the_policy_has_its_fields_and_its_defaults() -> None:
    assert PolicySection().policy() == Policy()
    assert list(PolicySection.model_fields) == list(asdict(Policy()))


@pytest.mark.parametrize(
    ("yaml", "name"),
    [
        ("vast: {url: notaurl}", "vast.url"),
        ("agent: {url: notaurl}", "agent.url"),
        ("snapshots: {url: 'ftp://host'}", "snapshots.url"),
        ("vast: {url: 'http://'}", "vast.url"),
        ("vast: {url: 'http://host:port'}", "vast.url"),
        ("agent: {kafka: 'http://host'}", "agent.kafka"),
        ("kafka: {bootstrap: localhost}", "kafka.bootstrap"),
        ("ssh: {witnesses: [host]}", "ssh.witnesses.0"),
        ("database: nonsense", "database"),
        ("kafka: {bootstrap: 'h:1', security_protocol: SASL_SSL}", "kafka.security_protocol"),
        ("kafka: {bootstrap: 'h:1', ssl_cafile: /no/such/file}", "kafka.ssl_cafile"),
        ("kafka: {bootstrap: 'h:1', ssl_cafile: /etc/passwd}", "kafka.security_protocol"),
        ("kafka: {bootstrap: 'h:1', security_protocol: SSL, ssl_keyfile: /etc/passwd}", "kafka.ssl_certfile"),
        ("kafka: {bootstrap: 'h:1', sasl_username: u, sasl_password: p}", "kafka.security_protocol"),
        ("machines: [{id: 1}, {id: 1}]", "machines"),
        ("machines: [{name: x}]", "machines.0.id"),
        ("machines: [5]", "machines.0"),
        ("machines: [{id: 1, strategy: fast}]", "machines.0.strategy"),
        ("machines: [{id: 1, auto_failover: maybe}]", "machines.0.auto_failover"),
        ("machines: [{id: 1, ssh_keys: [mine]}]", "machines.0.ssh_keys.0"),
        ("hooks: {handed_over: []}", "hooks.handed_over"),
        ("hooks: {handed_over: [/no/such/program]}", "hooks.handed_over"),
        ("hooks: {handed_over: [/etc/passwd]}", "hooks.handed_over"),
        ("machines: [{id: 1, cpu_standby: {zone: Europe!}}]", "machines.0.cpu_standby.zone"),
        ("machines: [{id: 1, cpu_standby: {machine: big}}]", "machines.0.cpu_standby.machine"),
        ("gce: {zones: [europe-west4-a]}", "gce.project"),
        ("gce: {project: my-project}", "gce.zones"),
        ("gce: {project: my-project, zones: []}", "gce.zones"),
        ("gce: {project: my-project, zones: [Nowhere]}", "gce.zones.0"),
        ("gce: {project: my-project, zones: [europe-west4-a], disk_gb: 1}", "gce.disk_gb"),
        (
            "gce: {project: my-project, zones: [europe-west4-a], credentials_file: /no/such/file}",
            "gce.credentials_file",
        ),
        ("gce: {project: my-project, zones: [europe-west4-a], endpoint: nowhere}", "gce.endpoint"),
        ("gce: {project: my-project, zones: [europe-west4-a], kind: spot}", "gce.kind"),
    ],
)
def test_what_could_only_fail_later_is_refused_at_the_start_with_a_remedy(tmp_path: Path, yaml: str, name: str) -> None:
    [line] = refused(tmp_path, yaml)
    assert line.startswith(f"failoverd.yaml: {name}: ")
    assert "; remedy: " in line


@pytest.mark.parametrize("token", ["", " ", "a b", "tokén"])
def test_a_token_that_would_lock_everybody_out_is_refused(tmp_path: Path, token: str) -> None:
    [line] = refused(tmp_path, f"http: {{token: {json.dumps(token)}}}")
    assert "http.token" in line
    assert "leave it out" in line
    [line] = refused(tmp_path, "", FAILOVERD_HTTP__TOKEN=token)
    assert line.startswith("FAILOVERD_HTTP__TOKEN: ")


def test_the_bare_words_on_and_off_are_understood_where_yaml_reads_flags(tmp_path: Path) -> None:
    found = said(tmp_path, "machines: [{id: 1, auto_failover: on}, {id: 2, auto_failover: off}]").machines
    assert [machine.auto_failover for machine in found] == ["on", "off"]


def test_the_words_of_a_machine_in_the_file_are_those_of_the_domain() -> None:
    for name, kind in (("strategy", Setting), ("auto_failover", Mode)):
        assert wanted(MachineEntry.model_fields[name]) == f"one of {', '.join(one.value for one in kind)}"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "failoverd.yaml"
    config.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="save it as UTF-8"):
        load(config, {})


# -- what only the start can find out


@pytest.mark.parametrize(
    ("yaml", "named"),
    [
        ("database: nonsense", "database"),
        ("state_dir: /proc/nope", "state_dir"),
        ("ssh: {key_file: /etc/passwd}", "ssh.key_file"),
        ("http: {host: 192.0.2.1}", "http.host"),
        ("http: {host: 'no such host'}", "http.host"),
        ("database: sqlite:////no/such/folder/x.db", "database"),
    ],
)
def test_a_start_that_cannot_be_is_2_and_one_line(tmp_path: Path, yaml: str, named: str) -> None:
    config = tmp_path / "failoverd.yaml"
    config.write_text(f"{yaml}\nvast: {{url: 'http://127.0.0.1:1', api_key: any}}\nlog_level: error\n")
    command = [ROOT / ".venv/bin/failoverd", "run", "--config", config, "--http-port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error[invalid_settings] ")
    assert f"{named}: " in line
    assert "; remedy: " in line


def test_an_empty_token_file_is_told_and_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    config = tmp_path / "failoverd.yaml"
    config.write_text(f"state_dir: {tmp_path}\nvast: {{url: 'http://127.0.0.1:1', api_key: any}}\n")
    command = [ROOT / ".venv/bin/failoverd", "run", "--config", config, "--http-port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "token is empty" in done.stderr) == (2, True), done.stderr


# -- snapshots

S3 = "kind: s3, bucket: my-snapshots, access_key_id: k, secret_access_key: s3cr3t, password: s3cr3t-too"


def test_each_kind_of_store_for_snapshots_can_be_chosen(tmp_path: Path) -> None:
    assert said(tmp_path, "").snapshots.kind == "world"
    found = said(tmp_path, f"snapshots: {{{S3}, prefix: /team/a/, keep: 5}}").snapshots
    assert (found.bucket, found.prefix, found.keep) == ("my-snapshots", "team/a", 5)
    assert said(tmp_path, f"snapshots: {{{S3.replace('s3,', 'b2,')}}}").snapshots.kind == "b2"
    assert said(tmp_path, "snapshots: {kind: path, folder: /mnt/x, password: p}").snapshots.folder == Path("/mnt/x")


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("{kind: s3, access_key_id: k, secret_access_key: s3cr3t, password: p}", "snapshots.bucket: is missing"),
        (f"{{{S3}}}".replace(", password: s3cr3t-too", ""), "snapshots.password: is missing"),
        (f"{{{S3}, folder: /mnt/x}}", "snapshots.folder: means nothing to kind s3"),
        ("{kind: world, bucket: my-snapshots}", "snapshots.bucket: means nothing to kind world"),
        ("{kind: path, folder: snaps, password: p}", "snapshots.folder: must be an absolute path"),
        (f"{{{S3}, bucket: My_Bucket}}".replace("bucket: my-snapshots, ", ""), "snapshots.bucket: is no bucket's name"),
        (f"{{{S3}, prefix: ../x}}", "snapshots.prefix: is no prefix of names"),
        (f"{{{S3}, read_access_key_id: r}}", "snapshots.read_access_key_id: needs read_secret_access_key"),
        (f"{{{S3}, endpoint: 127.0.0.1}}", "snapshots.endpoint: must be a URL"),
        (f"{{{S3}, keep: 0}}", "snapshots.keep: must be a whole number"),
    ],
)
def test_what_is_wrong_with_snapshots_is_named_with_its_remedy(tmp_path: Path, yaml: str, expected: str) -> None:
    lines = refused(tmp_path, f"snapshots: {yaml}")
    assert any(expected in line and "; remedy: " in line for line in lines), lines
    assert SECRET not in "\n".join(lines)
