"""The daemon's configuration: flags over environment over one YAML file over defaults. Strict: a typo is an error."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from daemon.registry import Registration
from machines.policy import Policy


class SettingsError(Exception):
    """The configuration cannot be used; the text names each field and what it must be."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Http(Section):
    """The API's listener."""

    host: str = "127.0.0.1"
    port: int = Field(8787, ge=0, le=65535)
    token: SecretStr | None = None
    """Whoever bears it may do everything; without one, one is made and kept in `<state_dir>/token`."""


class Kafka(Section):
    """The broker; without this section the log lives inside the process."""

    bootstrap: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    replication_factor: int = -1


class Topics(Section):
    prefix: str = Field("", pattern=r"^[a-zA-Z0-9._-]*$")
    partitions: int = Field(8, ge=1, le=1024)
    group: str = "failoverd"


class Vast(Section):
    url: str = "https://console.vast.ai"
    api_key: SecretStr = SecretStr("")


class Snapshots(Section):
    """Where verified snapshots are kept. `world`: the simulated world's own keeper."""

    kind: Literal["world"] = "world"
    url: str | None = None
    """None is the provider's URL."""


class Ssh(Section):
    key_file: Path | None = None
    """An ed25519 key; None is `<state_dir>/ssh_key`, made when missing."""
    witnesses: list[str] = []
    """host:port of SSH servers that must answer before a mute machine counts as mute; other machines count too."""


class AgentOptions(Section):
    """How the agents of replacements report."""

    kafka: str | None = None
    """Bootstrap servers as seen from a rented machine."""
    url: str | None = None
    """The daemon's address as seen from a rented machine; used where `kafka` is not set."""
    install: str = "pip install --quiet failoverd"
    """Run where the command `failoverd` is missing on a replacement."""


class PolicySection(Section):
    """Every field of the fleet's policy (machines/policy.py); what is not named keeps its default."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _known_fields_only(self) -> PolicySection:
        known = {field.name: field.default for field in fields(Policy)}
        for name, value in (self.model_extra or {}).items():
            if name not in known:
                raise ValueError(f"policy.{name} is not known; known are {', '.join(sorted(known))}")
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"policy.{name} must be a number that is not negative, not {value!r}")
        return self

    def policy(self) -> Policy:
        given = self.model_extra or {}
        return Policy(**{name: given[name] for name in given})


class MachineEntry(Registration):
    """A machine in the configuration file: its id, and what `PUT /machines/{id}` takes."""

    id: int = Field(gt=0)


class Settings(BaseSettings):
    """The whole configuration. Environment: FAILOVERD_HTTP__PORT=8787 sets http.port."""

    model_config = SettingsConfigDict(
        env_prefix="FAILOVERD_", env_nested_delimiter="__", extra="forbid", nested_model_default_partial_update=True
    )

    state_dir: Path = Path("var/failoverd")
    database: str | None = None
    """SQLAlchemy URL; None is SQLite in the state directory."""
    http: Http = Http()
    kafka: Kafka | None = None
    topics: Topics = Topics()
    vast: Vast = Vast()
    snapshots: Snapshots = Snapshots()
    ssh: Ssh = Ssh()
    agent: AgentOptions = AgentOptions()
    policy: PolicySection = PolicySection()
    machines: list[MachineEntry] = []
    speed: float = Field(1.0, gt=0, le=1000)
    """Runs every interval so many times faster, beside a simulated world that does the same."""
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("machines")
    @classmethod
    def _ids_are_unique(cls, machines: list[MachineEntry]) -> list[MachineEntry]:
        ids = [machine.id for machine in machines]
        double = sorted({number for number in ids if ids.count(number) > 1})
        if double:
            raise ValueError(f"machine ids must be unique; {double} stand twice")
        return machines

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.state_dir.resolve()}/failoverd.db"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The file is handed in as init values by `load`, so the environment goes first."""
        return env_settings, init_settings


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """Read the file (None: defaults and environment alone) and apply flags. Raise SettingsError."""
    try:
        given = _read(path) if path is not None else {}
        settings = Settings(**given)
        return settings.model_copy(update={key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(_explain(path, error)) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; name another file with --config") from error
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: is not YAML: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: must hold a mapping of settings, not a {type(found).__name__}")
    return found


def _explain(path: Path | None, error: ValidationError) -> str:
    where = str(path) if path is not None else "the environment"
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"]) or "configuration"
        shown = "" if "key" in name or "token" in name or "password" in name else f" (found {problem.get('input')!r})"
        lines.append(f"{where}: {name}: {problem['msg']}{shown}")
    return "\n".join(lines)
