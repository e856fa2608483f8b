"""The doctor: each fault of the surroundings is one line with its remedy and an exit code, and spoils no other line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.gce import Quota, read_quotas
from adapters.sim.server import SimServer, SimSettings
from adapters.sql.migration import HEAD
from adapters.ssh import load_or_create_key
from adapters.system_clock import SystemClock
from adapters.vast import vast_client
from daemon import doctor_providers
from daemon.cli_db import show_current, upgrade_schema
from daemon.doctor import Finding, Grade, examine, ok, report, run_doctor
from daemon.doctor_checks import (
    check_broker,
    check_channels,
    check_database,
    check_snapshots,
    check_ssh,
    check_state_dir,
    check_witnesses,
)
from daemon.doctor_providers import check_gce, check_vast, look_at_vast
from daemon.settings import Gce, Loaded, read
from machines.errors import Refused, Unknown
from tests.servers.sshd import Sshd

CLOCK = SystemClock(speed=100.0)
KEY = "k-123"


def said(folder: Path, text: str) -> Loaded:
    file = folder / "f.yaml"
    file.write_text(f"state_dir: {folder}/state\n{text}")
    return read(file, {})


def one(found: Sequence[Finding]) -> Finding:
    [finding] = found
    return finding


def by_check(found: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in found}


# -- the provider


async def at_the_provider(
    folder: Path, key: str = KEY, credit: float | None = None, text: str = ""
) -> dict[str, Finding]:
    server = SimServer(SimSettings(seed=7, api_key=KEY, has_bodies=False), CLOCK)
    if credit is not None:
        server.world.set_credit(credit, CLOCK.now())
    client = vast_client(key, "http://vast.test", transport=httpx.ASGITransport(server.app))
    async with client:
        return by_check(await look_at_vast(client, said(folder, text), CLOCK))


async def test_a_key_that_opens_the_account_is_told_with_what_is_left(tmp_path: Path) -> None:
    found = await at_the_provider(tmp_path)
    assert found["provider"].grade is Grade.OK
    assert found["balance"].grade is Grade.OK
    assert found["key on account"].grade is Grade.SKIPPED


async def test_a_key_that_opens_nothing_is_7(tmp_path: Path) -> None:
    found = await at_the_provider(tmp_path, key="another")
    assert (found["provider"].grade, found["provider"].exit_code) == (Grade.FAILED, 7)
    assert "FAILOVERD_VAST__API_KEY" in str(found["provider"].remedy)


async def test_an_empty_account_is_told(tmp_path: Path) -> None:
    found = await at_the_provider(tmp_path, credit=0.0)
    assert found["balance"].grade is Grade.FAILED
    assert found["balance"].remedy == "pay in"


async def test_our_key_that_is_not_on_the_account_is_told(tmp_path: Path) -> None:
    load_or_create_key(tmp_path / "state" / "ssh_key")
    found = await at_the_provider(tmp_path)
    assert found["key on account"].grade is Grade.WARNING


async def test_an_empty_key_is_told_without_a_question(tmp_path: Path) -> None:
    assert one(await check_vast(said(tmp_path, ""), CLOCK)).exit_code == 2


@pytest.mark.parametrize(("off_s", "grade"), [(0, Grade.OK), (-20, Grade.WARNING), (900, Grade.FAILED)])
def test_our_clock_is_compared_with_the_providers(off_s: float, grade: Grade) -> None:
    theirs = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
    dates = [(format_datetime(theirs, usegmt=True), theirs + timedelta(seconds=off_s)), ("", theirs)]
    found = one(doctor_providers._clock(dates))
    assert found.grade is grade
    assert one(doctor_providers._clock([("soon", theirs)])).grade is Grade.SKIPPED


# -- VMs


class Wire:
    """Compute Engine, as far as it is asked."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.answer = (status, dict(body))
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    async def ask(self, what: str, path: Mapping[str, str], query: Any, body: Any, timeout_s: float) -> Any:
        self.asked.append((what, path))
        return self.answer

    def close(self) -> None: ...


async def test_quotas_are_read_from_the_region() -> None:
    wire = Wire(200, {"quotas": [{"metric": "CPUS", "limit": 24, "usage": 22}, {"metric": "INSTANCES", "limit": 5}]})
    found = await read_quotas(wire, "my-project", "europe-west4")
    assert found == (Quota("CPUS", 24, 22), Quota("INSTANCES", 5, 0))
    assert wire.asked == [("region", {"project": "my-project", "region": "europe-west4"})]
    tight = one(doctor_providers._quotas("europe-west4", found, Gce(project="my-project", zones=["europe-west4-a"])))
    assert (tight.grade, "CPUS 22 of 24" in tight.detail) == (Grade.FAILED, True)
    small = Gce(project="my-project", zones=["europe-west4-a"], machine_type="e2-standard-2")
    assert one(doctor_providers._quotas("europe-west4", found, small)).grade is Grade.OK


async def test_an_answer_without_quotas_is_no_room_and_no_lack_of_it() -> None:
    with pytest.raises(Refused, match="403"):
        await read_quotas(Wire(403, {"error": {"message": "no"}}), "p", "r")
    with pytest.raises(Unknown):
        await read_quotas(Wire(503, {}), "p", "r")


async def test_without_vms_nothing_is_asked(tmp_path: Path) -> None:
    assert one(await check_gce(said(tmp_path, ""), CLOCK)).grade is Grade.SKIPPED


# -- here


async def test_a_database_is_told_by_its_revision(tmp_path: Path) -> None:
    loaded = said(tmp_path, "")
    assert "is made at the first start" in one(await check_database(loaded, CLOCK)).detail
    assert not (tmp_path / "state").exists()
    file = tmp_path / "f.yaml"
    assert show_current(file, False) == 5
    assert not (tmp_path / "state").exists()
    assert upgrade_schema(file, True) == 0
    assert show_current(file, True) == 0
    assert one(await check_database(loaded, CLOCK)).detail == f"it answers, and is at revision {HEAD}"
    (tmp_path / "state" / "failoverd.db").write_bytes(b"no database at all, and long enough to be looked at" * 100)
    assert one(await check_database(loaded, CLOCK)).grade is Grade.FAILED
    assert upgrade_schema(file, False) == 5


async def test_a_server_that_is_away_is_8_and_its_password_is_not_told(tmp_path: Path) -> None:
    loaded = said(tmp_path, "database: 'postgresql://me:s3cr3t@127.0.0.1:1/x'")
    found = one(await check_database(loaded, CLOCK))
    assert (found.grade, found.exit_code) == (Grade.FAILED, 8)
    assert "s3cr3t" not in str(found)


async def test_a_folder_that_others_can_read_the_token_in_is_told(tmp_path: Path) -> None:
    loaded = said(tmp_path, "")
    assert one(await check_state_dir(loaded, CLOCK)).grade is Grade.OK
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "token").write_text("fa_x")
    (tmp_path / "state" / "token").chmod(0o644)
    found = one(await check_state_dir(loaded, CLOCK))
    assert found.grade is Grade.FAILED
    assert "chmod 600" in str(found.remedy)


async def test_a_broker_that_is_away_is_8(tmp_path: Path) -> None:
    found = one(await check_broker(said(tmp_path, "kafka: {bootstrap: '127.0.0.1:1'}"), CLOCK))
    assert (found.grade, found.exit_code) == (Grade.FAILED, 8)
    assert one(await check_broker(said(tmp_path, ""), CLOCK)).grade is Grade.SKIPPED


async def test_topics_that_are_missing_are_counted_and_not_made(
    tmp_path: Path, kafka_broker: str, topic_prefix: str
) -> None:
    text = f"kafka: {{bootstrap: '{kafka_broker}'}}\ntopics: {{prefix: '{topic_prefix}doctor.'}}"
    for _ in range(2):
        found = by_check(await check_broker(said(tmp_path, text), SystemClock()))
        assert found["broker"].grade is Grade.OK
        assert found["topics"].detail.startswith("6 are not there yet")


async def test_a_place_for_snapshots_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "snaps").mkdir()
    text = f"snapshots: {{kind: path, folder: '{tmp_path}/snaps', password: x}}"
    assert one(await check_snapshots(said(tmp_path, text), CLOCK)).grade is Grade.OK
    assert [path for path in (tmp_path / "snaps").rglob("*") if path.is_file()] == []
    assert one(await check_snapshots(said(tmp_path, ""), CLOCK)).grade is Grade.SKIPPED
    beside_a_world = one(await check_snapshots(said(tmp_path, "vast: {url: 'http://127.0.0.1:8790'}"), CLOCK))
    assert (beside_a_world.grade, "keeps them" in beside_a_world.detail) == (Grade.OK, True)


async def test_a_bucket_that_does_not_answer_is_8(tmp_path: Path) -> None:
    keyed = "access_key_id: a, secret_access_key: b, password: x, endpoint: 'http://127.0.0.1:1'"
    loaded = said(tmp_path, f"snapshots: {{kind: s3, bucket: abc, {keyed}}}")
    found = one(await examine(loaded, (("snapshots", check_snapshots),)))
    assert (found.check, found.grade, found.exit_code) == ("snapshots", Grade.FAILED, 8)


async def test_a_key_that_is_none_is_told_and_witnesses_are_greeted(tmp_path: Path, sshd: Sshd) -> None:
    text = f"ssh: {{witnesses: ['{sshd.host}:{sshd.port}', '127.0.0.1:1']}}"
    loaded = said(tmp_path, text)
    assert "is made at the first start" in one(await check_ssh(loaded, CLOCK)).detail
    load_or_create_key(tmp_path / "state" / "ssh_key")
    assert one(await check_ssh(loaded, CLOCK)).grade is Grade.OK
    (tmp_path / "state" / "ssh_key").write_text("no key")
    assert one(await check_ssh(loaded, CLOCK)).grade is Grade.FAILED
    there, away = await check_witnesses(loaded, SystemClock())
    assert (there.grade, away.grade, away.exit_code) == (Grade.OK, Grade.FAILED, 8)


async def test_it_is_told_where_nobody_would_hear(tmp_path: Path) -> None:
    found = by_check(await check_channels(said(tmp_path, ""), CLOCK))
    assert [finding.grade for finding in found.values()] == [Grade.WARNING, Grade.WARNING]
    text = "notify: {heartbeat_url: 'https://hc.example/s3cr3t', channels: [{name: a, kind: webhook, url: 'https://h/s3cr3t', secret: s3cr3t}]}"
    found = by_check(await check_channels(said(tmp_path, text), CLOCK))
    assert [finding.grade for finding in found.values()] == [Grade.OK, Grade.OK]
    assert "s3cr3t" not in str(found)


# -- as a whole


async def test_a_check_that_breaks_spoils_no_other(tmp_path: Path) -> None:
    async def breaks(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
        raise Unknown("the answer was lost")

    async def goes_well(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
        return [ok("b", "well")]

    found = await examine(said(tmp_path, ""), (("a", breaks), ("b", goes_well)))
    assert [(finding.check, finding.grade) for finding in found] == [("a", Grade.FAILED), ("b", Grade.OK)]


def test_the_first_fault_is_the_exit_code_and_every_fault_has_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [
        ok("a", "well"),
        Finding("b", Grade.FAILED, "away", "start it", 8),
        Finding("c", Grade.FAILED, "no", "mend", 5),
    ]
    assert report(findings, as_json=False) == 8
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "ok    a  well",
        "FAIL  b  away",
        "         remedy  start it",
        "FAIL  c  no",
        "         remedy  mend",
        "3 checks: 2 failed, 0 warnings",
    ]
    assert report(findings, as_json=True) == 8
    told = json.loads(capsys.readouterr().out)
    assert [row["grade"] for row in told["findings"]] == ["ok", "failed", "failed"]


def test_settings_that_cannot_be_used_are_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.logs.configure", lambda *_, **__: None)
    (tmp_path / "f.yaml").write_text("speed: 0")
    assert run_doctor(tmp_path / "f.yaml", as_json=False) == 2
    assert "FAIL  settings  " in capsys.readouterr().out
