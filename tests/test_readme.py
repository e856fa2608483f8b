"""What the documents and packaging files say is held against the code."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from daemon.settings import load
from machines.states import EDGES, as_mermaid

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


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_load(path):
    assert load(path).vast.url.startswith("http://127.0.0.1:")


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
