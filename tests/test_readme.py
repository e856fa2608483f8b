"""What the documents and packaging files say is held against the code."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from daemon.cli_app import app
from daemon.settings import Settings, load
from tests import readme_console

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)


def test_the_commands_of_the_consoles_are_understood():
    """Also those that need an account: they are parsed and not run."""
    lines = [line for block in readme_console.blocks(README) for line in block.commands]
    verbs = 0
    for line in lines:
        words = shlex.split(line.removesuffix("&"))
        if words[0].rpartition("/")[2] == "failoverd":
            command, arguments = get_command(app), words[1:]
            while hasattr(command, "commands"):
                name, *arguments = arguments
                command = command.commands[name]
            command.make_context(name, arguments)
            verbs += 1
    assert verbs > 5


def test_every_command_that_the_readme_names_is_there():
    named = set(re.findall(r"failoverd (\w+)", " ".join(re.findall(r"`[^`]+`|```.*?```", README, re.DOTALL))))
    listed = subprocess.run([".venv/bin/failoverd", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert named
    assert [name for name in named if name not in listed.stdout] == []


def test_the_readme_names_every_setting():
    table = README[README.index("| section | what it holds |") :].split("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(Settings.model_fields)


def test_the_machines_that_the_readme_moves_by_hand_are_two():
    by_hand = README[README.index("By hand, ") : README.index("Answers to commands")]
    moved = re.findall(r'"machine_id": ?(\d+)', by_hand)
    assert len(moved) == len(set(moved)) == 2
    [instance] = re.findall(r'"gpu_instance_id": ?(\d+)', by_hand)
    entries = {entry.id: entry.gpu_instance_id for entry in load(ROOT / "examples/kafka.yaml", {}).machines}
    assert entries[int(moved[1])] == int(instance)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_load(path):
    """That of compose together with what its service says."""
    environment = COMPOSE["services"]["failoverd"]["environment"] if path.name == "compose.yaml" else {}
    filled = {name: re.sub(r"\$\{[^}]+\}", "fa_" + "x" * 40, value) for name, value in environment.items()}
    assert load(path, filled).vast.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_are_pinned_by_hash_and_name_no_index(name):
    text = (ROOT / name).read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"https?://|--index-url|--find-links", text)


def test_compose_holds_together():
    services = COMPOSE["services"]
    for name, service in services.items():
        assert "healthcheck" in service, name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services, name
            wanted = "service_completed_successfully" if needed == "keys" else "service_healthy"
            assert how["condition"] == wanted, name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        image = service.get("image")
        assert re.search(r":v?\d+\.\d+(\.\d+)?$", image), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"], name


def test_compose_has_no_secret_of_its_own():
    for variable in re.findall(r"\$\{([^}]+)\}", COMPOSE_TEXT):
        assert ":?" in variable, variable
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("TOKEN|SECRET|PASSWORD", variable):
                assert value.startswith("${"), (name, variable)


def test_compose_runs_our_own_image_read_only_and_without_rights():
    for name in ("world", "failoverd"):
        service = COMPOSE["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_the_command_lines_in_compose_are_understood():
    group = get_command(app)
    for name in ("world", "failoverd"):
        verb, *options = COMPOSE["services"][name]["command"]
        group.commands[verb].make_context(verb, options)


def test_the_image_runs_as_nobody_in_particular_and_holds_what_it_is_built_from():
    dockerfile = (ROOT / "Dockerfile").read_text()
    final = dockerfile[dockerfile.rindex("\nFROM ") :]
    assert re.search(r"^USER \d+$", final, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in final
    for source in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split()), source


def test_compose_follows_the_schema():
    checked = subprocess.run(
        [".venv/bin/check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
