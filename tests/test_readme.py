"""What the documents and packaging files say is held against the code."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from daemon.settings import Settings, load
from machines.states import EDGES, as_mermaid
from tests.test_api_stage import stage

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def states_section() -> str:
    rows = "\n".join(
        f"| {row.source.value} | {row.trigger.value} | {row.target.value} | {row.because} |" for row in EDGES
    )
    table = f"| from | trigger | to | because |\n|---|---|---|---|\n{rows}\n"
    return f"<!-- states -->\n{table}\n```mermaid\n{as_mermaid()}```\n<!-- /states -->"


def test_the_readme_shows_the_table_of_states():
    assert states_section() in README


def test_every_command_that_the_readme_names_is_there():
    named = set(re.findall(r"failoverd (\w+)", " ".join(re.findall(r"`[^`]+`|```.*?```", README, re.DOTALL))))
    listed = subprocess.run([".venv/bin/failoverd", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert named
    assert [name for name in named if name not in listed.stdout] == []


def test_the_readme_names_every_setting():
    table = README[README.index("| section | what it holds |") :].split("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(Settings.model_fields)


LACKING = (
    "/api/v1/failover/settings",
    "/metrics",
    "/asyncapi.json",
    "/docs",
    "/api/v1/failovers/fo_1/retry",
    "/api/v1/failovers/fo_1/ack",
    "/api/v1/events",
    "/api/v1/webhooks/vast",
)


async def test_the_routes_that_the_readme_calls_missing_are_missing_and_named():
    limits = README[README.index("## Limits") : README.index("## Layout")]
    async with stage() as s:
        for path in LACKING:
            assert (await s.http.get(path)).json()["code"] == "unknown_route", path
            assert path.rpartition("/")[2] in limits, path
        paths = (await s.http.get("/openapi.json")).json()["paths"]
    assert ("regional volumes" in limits) is not any("volume" in path for path in paths)


def test_the_machines_that_the_readme_moves_by_hand_are_two():
    by_hand = README[README.index("By hand, ") : README.index("Answers to commands")]
    moved = re.findall(r'"machine_id": ?(\d+)', by_hand)
    assert len(moved) == len(set(moved)) == 2
    [instance] = re.findall(r'"gpu_instance_id": ?(\d+)', by_hand)
    entries = {entry.id: entry.gpu_instance_id for entry in load(ROOT / "examples/kafka.yaml", {}).machines}
    assert entries[int(moved[1])] == int(instance)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_load(path):
    assert load(path, {}).vast.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_are_pinned_by_hash_and_name_no_index(name):
    text = (ROOT / name).read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"https?://|--index-url|--find-links", text)


def test_compose_holds_together():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services, name
            assert how["condition"] != "service_healthy" or "healthcheck" in services[needed], name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        image = service.get("image")
        assert image is None or re.search(r":\d+\.\d+\.\d+$", image), name
    for variable in re.findall(r"\$\{([^}]+)\}", (ROOT / "docker-compose.yml").read_text()):
        assert ":-" in variable or ":?" in variable, variable


def test_compose_follows_the_schema():
    checked = subprocess.run(
        [".venv/bin/check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
