"""Twenty kinds of broken configuration: each is one clear line that names its place, and says what mends it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from daemon.settings import SettingsError, load

WHOLE: Mapping[str, tuple[str, str, str]] = {
    # what is broken: (the file, where it is said and what is wrong, what mends it)
    "a misspelt section": ("vst: {}", "f.yaml:1: vst: is not known", "did you mean vast?"),
    "a misspelt name": (
        "http:\n  prt: 1",
        "f.yaml:2: http.prt: is not known",
        "did you mean port? known are ",
    ),
    "the same name twice": (
        "http:\n  port: 1\n  port: 2",
        "f.yaml:3: http.port: stands there twice, first in line 2",
        "keep one",
    ),
    "a tab": ("http:\n\tport: 1", "f.yaml:2: is not YAML from column 1 on", "indent with blanks"),
    "a quote that does not end": ('log_level: "info', "is not YAML", "mend that line"),
    "a list where a mapping must be": (
        "- http",
        "f.yaml: must hold a mapping, not a list",
        "write `name: value` lines",
    ),
    "a text for a number": (
        "\n\nhttp: {port: eight}",
        "f.yaml:3: http.port: must be a whole number from 0 to 65535 (found a text)",
        "write it like `port: 8787`",
    ),
    "a flag for a number": (
        "speed: yes",
        "f.yaml:1: speed: must be a number above 0 up to 1000 (found true)",
        "speed: 1",
    ),
    "a number out of its bounds": (
        "policy: {max_price: -1}",
        "policy.max_price: must be a number above 0",
        "max_price: 20",
    ),
    "a word that is none of the known": (
        "log_level: loud",
        "log_level: must be one of debug, info, warning, error (found loud)",
        "write it like `log_level: info`",
    ),
    "a section that is a text": ("vast: my-key", "f.yaml:1: vast: must be a section with url, api_key", "vast: {...}"),
    "a name that is missing": (
        "kafka:\n  sasl_username: me",
        "f.yaml:1: kafka.bootstrap: is missing",
        "`bootstrap: 127",
    ),
    "an address without a scheme": (
        "vast: {url: vast.ai}",
        "f.yaml:1: vast.url: must be a URL",
        "http://127.0.0.1:8787",
    ),
    "an address with a scheme too many": ("kafka: {bootstrap: 'kafka://h:1'}", "must be host:port", "127.0.0.1:9092"),
    "a password in an address": (
        "agent: {url: 'http://me:pw@host'}",
        "must be a bare address",
        "write it like http://",
    ),
    "a database that is not supported": (
        "database: 'mysql://h/n'",
        "database that is not supported",
        "postgresql://user",
    ),
    "a file that is not there": (
        "kafka: {bootstrap: 'h:1', ssl_cafile: /no/ca}",
        "kafka.ssl_cafile: is no file",
        "PEM",
    ),
    "SASL without a password": (
        "kafka: {bootstrap: 'h:1', security_protocol: SASL_SSL}",
        "SASL_SSL needs sasl_username and sasl_password",
        "give both",
    ),
    "fields that contradict each other": (
        "policy: {grace_cap_s: 2}",
        "policy.grace_cap_s: is 2, below grace_floor_s",
        "raise grace_cap_s, or lower grace_floor_s",
    ),
    "two machines with one id": (
        "machines:\n  - {id: 1}\n  - {id: 1}",
        "machines: names 1 more than once",
        "id of its own",
    ),
    "a machine without an id": ("machines:\n  - {name: a}", "f.yaml:2: machines.0.id: is missing", "add it: `id: 1`"),
    "snapshots without their bucket": ("snapshots: {kind: s3}", "snapshots.bucket: is missing: kind s3", "add it"),
    "a setting of another kind": (
        "snapshots: {kind: path, folder: /s, password: x, bucket: abc}",
        "snapshots.bucket: means nothing to kind path",
        "leave it out",
    ),
    "a channel without its address": (
        "notify:\n  channels:\n    - {name: ops, kind: webhook, secret: x}",
        "f.yaml:3: notify.channels.0.url: is missing: kind webhook needs it",
        "https://example.org/hook",
    ),
    "two channels of one name": (
        "notify: {channels: [{name: a, kind: apprise, url: 'json://h'}, {name: a, kind: apprise, url: 'json://h'}]}",
        "notify.channels: names a more than once",
        "a name of its own",
    ),
    "an alias within its own anchor": ("a: &a [*a]", "f.yaml:1: contains itself", "write out"),
    "aliases that come to more than anybody wrote": (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
        "comes to more than 2000000 values",
        "write out",
    ),
    "what is nested without end": ("a: " + "[" * 3000, "f.yaml: is too deep", "ten levels"),
    "a witness without a port": ("ssh: {witnesses: [h]}", "ssh.witnesses.0: must be host:port", "github.com:22"),
    "a hook that cannot be run": ("hooks: {handed_over: [/no/such]}", "names no program that can be run", "whole path"),
}


def faults(tmp_path: Path, text: str, variables: Mapping[str, str] | None = None) -> list[str]:
    file = tmp_path / "f.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        load(file, variables or {})
    return str(error.value).replace(f"{tmp_path}/", "").splitlines()


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_broken_is_one_line_with_its_place_and_its_remedy(tmp_path: Path, kind: str) -> None:
    text, wrong, remedy = WHOLE[kind]
    [line] = faults(tmp_path, text)
    said, separator, mends = line.partition("; remedy: ")
    assert separator
    assert wrong in said
    assert remedy in mends


@pytest.mark.parametrize(
    ("variable", "value", "wrong"),
    [
        ("FAILOVERD_HTP__PORT", "1", "did you mean FAILOVERD_HTTP__PORT?"),
        ("FAILOVERD_HTTP__PORT", "many", "must be a whole number"),
        ("FAILOVERD_MACHINES", "[", "is no JSON"),
        ("CREDENTIALS_DIRECTORY", "/no/such/folder", "cannot be read"),
    ],
)
def test_a_broken_variable_is_one_line_that_names_it(tmp_path: Path, variable: str, value: str, wrong: str) -> None:
    [line] = faults(tmp_path, "", {variable: value})
    assert line.startswith((f"{variable}: ", f"${variable}: "))
    assert wrong in line
    assert "; remedy: " in line


def test_a_list_in_the_place_of_a_section_is_blamed_on_the_file_and_not_on_a_variable(tmp_path: Path) -> None:
    [line] = faults(tmp_path, "http: [1]", {"FAILOVERD_HTTP__TOKEN": "x"})
    assert line.startswith("f.yaml:1: http: must be a section")


def test_a_credential_that_is_no_setting_is_told_with_what_was_meant(tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "vast_api_key").write_text("s3cr3t")
    [line] = faults(tmp_path, "", {"CREDENTIALS_DIRECTORY": str(folder)})
    assert line.startswith("credential vast_api_key: vast_api_key: is no setting")
    assert "did you mean vast__api_key?" in line
    assert "s3cr3t" not in line


def test_a_file_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read: No such file or directory; remedy: name another file$"):
        load(tmp_path / "none.yaml", {})


@pytest.mark.parametrize(
    ("text", "place"), [("gce: {project: p, zones: []}", "gce.zones"), ("http: {host: ''}", "http.host")]
)
def test_what_is_empty_is_told_as_empty(text: str, place: str, tmp_path: Path) -> None:
    assert any(f"{place}: must not be empty" in line for line in faults(tmp_path, text))


def test_every_fault_of_a_file_is_told_at_once_in_the_order_of_its_lines(tmp_path: Path) -> None:
    found = faults(tmp_path, "speed: 0\nhttp: {prt: -1}\nlog_level: loud")
    assert [line.split(": ")[1] for line in found] == ["speed", "http.prt", "log_level"]
