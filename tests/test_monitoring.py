"""The alert rules and the dashboard name nothing that the daemon does not serve, and nothing that is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from daemon import units
from daemon.cli_app import app
from tests.test_api_stage import stage

ROOT = Path(__file__).parents[1]
RULES = [rule for group in yaml.safe_load(units.rules())["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = json.loads(units.dashboard())["panels"]
OF_A_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in PANELS for target in panel["targets"])


def named() -> set[str]:
    found = {name for text in expressions() for name in re.findall(r"\bfailoverd_\w+", text)}
    return {OF_A_HISTOGRAM.sub("", name) for name in found}


async def test_only_metrics_that_are_served_are_named() -> None:
    async with stage() as s:
        answer = await s.http.get("/metrics")
    if answer.status_code == 404:
        pytest.skip("this version serves no /metrics")
    served = set(re.findall(r"^# TYPE (failoverd_\w+) ", answer.text, re.MULTILINE))
    assert sorted(named() - served) == []


def test_each_alert_says_what_happened_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "warn"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["description"], rule["alert"]


def test_the_commands_that_the_alerts_recommend_are_there() -> None:
    text = units.rules()
    verbs = set(re.findall(r"`failoverd ([a-z-]+)", text))
    listed = CliRunner().invoke(app, ["--help"]).stdout
    assert verbs
    assert [verb for verb in verbs if not re.search(rf"^\W*{verb}\b", listed, re.MULTILINE)] == []


def test_the_panels_lie_beside_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_prometheus_and_grafana_are_given_files_that_are_there() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    prometheus = yaml.safe_load((ROOT / "monitoring/prometheus.yml").read_text())
    for path in (*prometheus["rule_files"], "/etc/prometheus/prometheus.yml"):
        assert f":{path}:ro" in compose, path
    [provider] = yaml.safe_load((ROOT / "monitoring/grafana-dashboards.yml").read_text())["providers"]
    assert f":{provider['options']['path']}/failoverd.json:ro" in compose


@pytest.mark.parametrize(("what", "path"), [("rules", "alerts.yml"), ("dashboard", "failoverd.json")])
def test_export_prints_the_file(what: str, path: str) -> None:
    assert CliRunner().invoke(app, ["export", what]).stdout == (ROOT / "monitoring" / path).read_text()


def test_the_page_on_alerts_knows_each_of_them() -> None:
    page = (ROOT / "docs/how-to/alerts.md").read_text()
    assert re.findall(r"^\| `(Failoverd\w+)`", page, re.MULTILINE) == [rule["alert"] for rule in RULES]
