"""The files that an operator installs beside the program: systemd's units, Prometheus' rules, Grafana's dashboard."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

SYSTEMD = ("failoverd.service", "failoverd-agent.service")
RULES = "alerts.yml"
DASHBOARD = "failoverd.json"


def unit(name: str) -> str:
    """The text of one of SYSTEMD."""
    return _text("systemd", name)


def rules() -> str:
    """Prometheus' alert rules, as YAML."""
    return _text("monitoring", RULES)


def dashboard() -> str:
    """Grafana's dashboard, as JSON."""
    return _text("monitoring", DASHBOARD)


def _text(folder: str, name: str) -> str:
    packaged = resources.files("daemon").joinpath("files", folder, name)
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    # An installation that is edited in place reads the repository's own.
    return Path(__file__).parents[1].joinpath(folder, name).read_text(encoding="utf-8")
