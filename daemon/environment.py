"""What the environment says of the settings: FAILOVERD_HTTP__PORT=8787 sets http.port.

Values are texts; a list or a whole section is given as JSON. Every name with our prefix must be known: a misspelt one that
was passed over would leave a daemon on its defaults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from daemon.setting_faults import PREFIX, Fault, Path, field_at, is_list, model_of, variable_of
from daemon.setting_layers import Layer, Origin, Source

ELSEWHERE = frozenset(
    PREFIX + name
    for name in (
        *("TOKEN", "API_URL"),  # the commands that ask a daemon (daemon/client.py)
        *("MACHINE_ID", "INSTANCE_ID", "BEAT_TOKEN", "URL", "TOPIC_PREFIX", "WORKSPACE"),  # the agent
        *("KAFKA_USERNAME", "KAFKA_PASSWORD", "KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_MECHANISM"),  # its broker
        "SERVES",  # a workload that a CPU VM runs
        *("SIM_RUN", "REQUIRE_REAL"),  # the simulated world, the tests
    )
)
"""Names with our prefix that are no settings of the daemon; and every name that begins with FAILOVERD_TEST_."""


def read(variables: Mapping[str, str], model: type[BaseModel]) -> Layer:
    """Never raises: what cannot be understood is a fault. A name that no field has stays in the tree, for the model to
    refuse it like one in a file."""
    values: dict[str, Any] = {}
    origins: dict[Path, Origin] = {}
    faults = []
    for name in sorted(variables):
        if not name.startswith(PREFIX) or name in ELSEWHERE or name.startswith(f"{PREFIX}TEST_"):
            continue
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        origins[path] = Origin(Source.ENVIRONMENT, name)
        try:
            _put(values, path, _value(variables[name], path, model))
        except ValueError:
            faults.append(_no_json(name, path, model))
    return Layer(values, origins, tuple(faults))


def _value(text: str, path: Path, model: type[BaseModel]) -> Any:
    """Raise ValueError where JSON is needed and is not there."""
    field = field_at(model, path)
    if field is None or not (is_list(field) or model_of(field) is not None):
        return text
    return json.loads(text)


def _no_json(name: str, path: Path, model: type[BaseModel]) -> Fault:
    """The value is not told: it may hold a secret."""
    field = field_at(model, path)
    section = model_of(field) if field is not None else None
    dotted = ".".join(path)
    if section is None:
        return Fault(name, dotted, "is no JSON", f"give a list as JSON: {name}='[...]'")
    parts = [variable_of((*path, part)) for part in section.model_fields]
    return Fault(name, dotted, "is no JSON", f"set the section's parts one by one: {', '.join(parts)}")


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        below = tree.get(part)
        if not isinstance(below, dict):
            below = tree[part] = {}
        tree = below
    tree[path[-1]] = value
