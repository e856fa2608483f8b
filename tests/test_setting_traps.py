"""What is allowed and does not do what whoever wrote it wanted: each warning with its place and its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import structlog

from daemon.setting_starter import STARTER
from daemon.setting_traps import traps, warn_of_traps
from daemon.settings import Loaded, read

FAR = "agent: {url: 'https://failoverd.example'}\nssh: {witnesses: ['github.com:22']}\n"
"""What lets nothing be said of a daemon beside the real provider."""
SNAPSHOTS = "snapshots: {kind: path, folder: /s, password: x, every_s: 7200}\n"

TRAPS: Mapping[str, tuple[str, str, str]] = {
    # what is unwise: (the file, where it is said, a piece of the remedy)
    "a grace of one heartbeat": ("policy: {grace_factor: 1}", "policy.grace_factor", "2.5 to 3 intervals"),
    "a machine that beats more slowly than the longest grace": (
        "machines: [{id: 1, interval_s: 3600}]",
        "machines.0.interval_s",
        "raise policy.grace_cap_s",
    ),
    "snapshots more seldom than they may be old": (
        SNAPSHOTS + "policy: {max_snapshot_age_s: 3600}",
        "snapshots.every_s",
        "more often",
    ),
    "less time than an image takes": ("policy: {boot_timeout_s: 30}", "policy.boot_timeout_s", "420"),
    "a machine's price above the fleet's": (
        "policy: {max_price: 1}\nmachines: [{id: 1, max_price: 2}]",
        "machines.0.max_price",
        "raise policy.max_price",
    ),
    "less money than one rental takes": ("policy: {max_failover_cost: 0.01}", "policy.max_failover_cost", "raise it"),
    "no bound, written as zero": ("policy: {max_spend: 0}", "policy.max_spend", "give a bound"),
    "no false alarms at all": ("policy: {false_alarm_budget: 0}", "policy.false_alarm_budget", "failoverd pause"),
    "a fleet that may all be silent": ("policy: {mass_silence_fraction: 1}", "policy.mass_silence_fraction", "0.5"),
    "time that is faster than the provider's": ("speed: 2", "speed", "leave it out"),
    "agents that would report to themselves": ("agent: {url: 'http://127.0.0.1:8787'}", "agent.url", "set agent.url"),
    "a broker that rented machines cannot reach": (
        "agent: {}\nkafka: {bootstrap: 'localhost:9092'}",
        "kafka.bootstrap",
        "set agent.url",
    ),
    "protection that is on and off": (
        "machines: [{id: 1, strategy: disabled, auto_failover: on}]",
        "machines.0.strategy",
        "choose a strategy",
    ),
    "a strategy without anything to restore from": (
        "machines: [{id: 1, strategy: both}]",
        "machines.0.strategy",
        "set snapshots.kind",
    ),
    "a warm pool without a volume": ("machines: [{id: 1, strategy: warm_pool}]", "machines.0.strategy", "volume_id"),
    "one machine and no witness": ("machines: [{id: 1}]\nssh: {}", "ssh.witnesses", "github.com:22"),
    "two machines on one instance": (
        "machines: [{id: 1, gpu_instance_id: 5}, {id: 2, gpu_instance_id: 5}]",
        "machines.1.gpu_instance_id",
        "own instance",
    ),
    "a password in the clear": (
        "kafka: {bootstrap: 'k:1', security_protocol: SASL_PLAINTEXT, sasl_username: a, sasl_password: b}",
        "kafka.security_protocol",
        "SASL_SSL",
    ),
    "a pager for everything": (
        "notify: {channels: [{name: p, kind: pagerduty, routing_key: k, level: info}]}",
        "notify.channels.0.level",
        "warning or critical",
    ),
}


def said(folder: Path, text: str) -> Loaded:
    file = folder / "f.yaml"
    sections = {line.partition(":")[0] for line in text.splitlines()}
    file.write_text(
        text + "\n" + "".join(f"{line}\n" for line in FAR.splitlines() if line.partition(":")[0] not in sections)
    )
    return read(file, {})


@pytest.mark.parametrize("kind", TRAPS)
def test_what_is_unwise_is_told_with_its_place_and_its_remedy(tmp_path: Path, kind: str) -> None:
    text, name, remedy = TRAPS[kind]
    found = {one.name: one for one in traps(said(tmp_path, text))}
    assert name in found, list(found)
    assert remedy in found[name].remedy


def test_a_configuration_that_says_nothing_unwise_is_told_nothing(tmp_path: Path) -> None:
    assert traps(said(tmp_path, "")) == []
    near = "vast: {url: 'http://127.0.0.1:8790'}\nspeed: 20\nmachines: [{id: 1, strategy: both}]"
    assert traps(said(tmp_path, near)) == []


def test_the_starting_file_warns_of_the_address_alone_that_only_its_owner_knows(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(STARTER)
    assert [one.name for one in traps(read(file, {}))] == ["agent.url"]


def test_a_start_tells_each_in_a_line(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        warn_of_traps(said(tmp_path, "speed: 2"))
    assert [(line["event"], line["setting"]) for line in lines] == [("setting_is_unwise", "speed")]
