"""The daemon's configuration: flags over environment over one YAML file over defaults. Strict: a typo is an error."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from adapters.sql.urls import wrong_url
from daemon import environment, setting_faults
from daemon.environment import Environment
from daemon.registry import Registration
from daemon.setting_faults import Fault, wrong
from machines.policy import Policy


class SettingsError(Exception):
    """The configuration cannot be used: a line for each fault, with its field and what mends it."""


def _no_flag(value: Any) -> Any:
    """YAML's `yes` is no number, though Python counts with it."""
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


def _on_or_off(value: Any) -> Any:
    """YAML reads the bare words `on` and `off` as flags."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _http_url(text: str) -> str:
    example = "write it like http://127.0.0.1:8787 or https://console.vast.ai"
    try:
        parts = urlsplit(text)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise wrong("has a port that is none", example) from None
    if parts.scheme not in ("http", "https"):
        raise wrong("must be a URL that begins with http:// or https://", example)
    if not has_place or re.search(r"\s", text):
        raise wrong("names no host", example)
    if parts.username is not None or parts.query or parts.fragment:
        raise wrong("must be a bare address: no name, password or question belongs in it", example)
    return text.rstrip("/")


def _servers(text: str) -> str:
    for server in text.split(","):
        _host_and_port(server.strip())
    return text


def _host_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise wrong("must be host:port, without a scheme", "write it like 127.0.0.1:9092, several with commas between")
    return text


def _token(token: SecretStr) -> SecretStr:
    """An empty one would lock everybody out, and one with blanks cannot be sent."""
    if not re.fullmatch(r"[\x21-\x7e]+", token.get_secret_value()):
        what = (
            "has characters that no header can carry" if token.get_secret_value() else "is empty: nobody could get in"
        )
        raise wrong(what, "leave it out (one is made in <state_dir>/token), or give a long random text without blanks")
    return token


def _database(url: str) -> str:
    found = wrong_url(url)
    if found is not None:
        raise wrong(
            found, "write sqlite:///path/to/failoverd.db or postgresql://user:password@host/name, or leave it out"
        )
    return url


def _file(path: Path) -> Path:
    if not path.is_file():
        raise wrong("is no file that can be read", "name a file with certificates in PEM form")
    return path


Whole = Annotated[int, BeforeValidator(_no_flag)]
Number = Annotated[float, BeforeValidator(_no_flag)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Servers = Annotated[str, AfterValidator(_servers)]
HostAndPort = Annotated[str, AfterValidator(_host_and_port)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Http(Section):
    """The API's listener."""

    host: str = Field("127.0.0.1", min_length=1)
    port: Whole = Field(8787, ge=0, le=65535)
    token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    """Whoever bears it may do everything; without one, one is made and kept in `<state_dir>/token`."""


class Kafka(Section):
    """The broker; without this section the log lives inside the process."""

    bootstrap: Servers = Field(examples=["127.0.0.1:9092"])
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Annotated[Path, AfterValidator(_file)] | None = None
    replication_factor: Whole = Field(-1, ge=-1, le=100)

    @model_validator(mode="after")
    def _sasl_has_a_name_and_a_password(self) -> Kafka:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            text = f"{self.security_protocol} needs sasl_username and sasl_password"
            raise wrong(text, "give both, or choose PLAINTEXT or SSL", "security_protocol")
        return self


class Topics(Section):
    prefix: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9._-]*$",
        max_length=100,
        description="at most 100 letters, digits, '.', '_' and '-'",
        examples=["test."],
    )
    partitions: Whole = Field(8, ge=1, le=1024)
    group: str = Field("failoverd", min_length=1, max_length=200)


class Vast(Section):
    url: HttpUrl = "https://console.vast.ai"
    api_key: SecretStr = SecretStr("")


class Snapshots(Section):
    """Where verified snapshots are kept. `world`: the simulated world's own keeper."""

    kind: Literal["world"] = "world"
    url: HttpUrl | None = None
    """None is the provider's URL."""


class Ssh(Section):
    key_file: Path | None = None
    """An ed25519 key; None is `<state_dir>/ssh_key`, made when missing."""
    witnesses: list[HostAndPort] = []
    """host:port of SSH servers that must answer before a mute machine counts as mute; other machines count too."""


class AgentOptions(Section):
    """How the agents of replacements report."""

    kafka: Servers | None = None
    """Bootstrap servers as seen from a rented machine."""
    url: HttpUrl | None = None
    """The daemon's address as seen from a rented machine; used where `kafka` is not set."""
    install: str = "pip install --quiet failoverd"
    """Run where the command `failoverd` is missing on a replacement."""


_USUAL = Policy()


class PolicySection(Section):
    """Every field of the fleet's policy (machines/policy.py) with its bounds; what is not named keeps its default."""

    grace_factor: Number = Field(_USUAL.grace_factor, ge=1, le=100)
    grace_floor_s: Number = Field(_USUAL.grace_floor_s, ge=0.1, le=3600)
    grace_cap_s: Number = Field(_USUAL.grace_cap_s, ge=1, le=86400)
    confirm_after_s: Number = Field(_USUAL.confirm_after_s, ge=0, le=3600)
    probe_every_s: Number = Field(_USUAL.probe_every_s, ge=0.1, le=3600)
    first_probe_again_s: Number = Field(_USUAL.first_probe_again_s, ge=0.1, le=3600)
    watch_every_s: Number = Field(_USUAL.watch_every_s, ge=0.1, le=86400)
    evidence_max_age_s: Number = Field(_USUAL.evidence_max_age_s, ge=1, le=86400)
    max_concurrent: Whole = Field(_USUAL.max_concurrent, ge=1, le=100_000)
    max_per_host: Whole = Field(_USUAL.max_per_host, ge=1, le=100_000)
    max_per_provider: Whole = Field(_USUAL.max_per_provider, ge=1, le=100_000)
    retry_admission_s: Number = Field(_USUAL.retry_admission_s, ge=0.1, le=3600)
    gather_s: Number = Field(_USUAL.gather_s, ge=0, le=3600)
    storm_cooldown_s: Number = Field(_USUAL.storm_cooldown_s, ge=0, le=86400)
    machine_cooldown_s: Number = Field(_USUAL.machine_cooldown_s, ge=0, le=86400)
    flap_count: Whole = Field(_USUAL.flap_count, ge=2, le=1000)
    flap_window_s: Number = Field(_USUAL.flap_window_s, ge=1, le=604_800)
    quarantine_s: Number = Field(_USUAL.quarantine_s, ge=1, le=604_800)
    budget_window_s: Number = Field(_USUAL.budget_window_s, ge=60, le=604_800)
    false_alarm_budget: Whole = Field(_USUAL.false_alarm_budget, ge=0, le=100_000)
    failed_budget: Whole = Field(_USUAL.failed_budget, ge=0, le=100_000)
    suspension_s: Number = Field(_USUAL.suspension_s, ge=60, le=604_800)
    mass_silence_fraction: Number = Field(_USUAL.mass_silence_fraction, gt=0, le=1)
    mass_silence_fleet: Whole = Field(_USUAL.mass_silence_fleet, ge=2, le=1_000_000)
    max_price: Number = Field(_USUAL.max_price, gt=0, le=1000)
    max_price_factor: Number = Field(_USUAL.max_price_factor, ge=1, le=100)
    min_reliability: Number = Field(_USUAL.min_reliability, ge=0, le=1)
    candidate_width: Whole = Field(_USUAL.candidate_width, ge=1, le=5)
    max_candidates: Whole = Field(_USUAL.max_candidates, ge=1, le=80)
    max_snapshot_age_s: Number = Field(_USUAL.max_snapshot_age_s, ge=60, le=31_536_000)
    boot_timeout_s: Number = Field(_USUAL.boot_timeout_s, ge=10, le=86400)

    @model_validator(mode="after")
    def _fields_agree(self) -> PolicySection:
        """What would leave the daemon waiting for something that its own settings rule out."""
        for name, other, why in _NOT_BELOW:
            least, found = getattr(self, other), getattr(self, name)
            if found < least:
                text = f"is {found:g}, below {other} ({least:g}): {why}"
                raise wrong(text, f"raise {name}, or lower {other}", name)
        return self

    def policy(self) -> Policy:
        return Policy(**self.model_dump())


_NOT_BELOW = (
    ("grace_cap_s", "grace_floor_s", "no grace could satisfy both"),
    ("probe_every_s", "first_probe_again_s", "the first pause is the shortest"),
    ("evidence_max_age_s", "probe_every_s", "all evidence would be too old before it is asked for again"),
    ("max_candidates", "candidate_width", "they are rented at one time"),
)


class MachineEntry(Registration):
    """A machine in the configuration file: its id, and what `PUT /machines/{id}` takes."""

    id: int = Field(gt=0)
    strategy: Literal["warm_pool", "cpu_standby", "both", "regional_volume", "disabled"] | None = None
    auto_failover: Annotated[Literal["off", "observe", "on"], BeforeValidator(_on_or_off)] | None = None


class Settings(Section):
    """The whole configuration. `load` reads it; made by hand it takes nothing from the environment."""

    state_dir: Path = Path("var/failoverd")
    database: Annotated[str, AfterValidator(_database)] | None = Field(
        None, examples=["postgresql://user:password@host/name"]
    )
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
    speed: Number = Field(1.0, gt=0, le=1000)
    """Runs every interval so many times faster, beside a simulated world that does the same."""
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("machines")
    @classmethod
    def _ids_are_unique(cls, machines: list[MachineEntry]) -> list[MachineEntry]:
        ids = [machine.id for machine in machines]
        double = sorted({number for number in ids if ids.count(number) > 1})
        if double:
            raise wrong(f"names {', '.join(map(str, double))} more than once", "give each machine an id of its own")
        return machines

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.state_dir.resolve()}/failoverd.db"


def load(path: Path | None = None, variables: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Read the file (None: defaults and environment alone) and apply flags. Raise SettingsError."""
    said = _read(path) if path is not None else {}
    given = environment.read(variables, Settings)
    faults = list(given.faults)
    try:
        settings = Settings.model_validate(_merged(said, given.values))
    except ValidationError as error:
        faults += _faults(error, path, said, given)
    if faults:
        raise SettingsError("\n".join(str(one) for one in faults))
    return settings.model_copy(update={key: value for key, value in overrides.items() if value is not None})


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged field by field; what is no section where one must be stays, to be refused."""
    merged = dict(below)
    for name, value in above.items():
        before = merged.get(name)
        if isinstance(value, dict) and before is not None:
            merged[name] = _merged(before, value) if isinstance(before, dict) else before
        else:
            merged[name] = value
    return merged


def _faults(error: ValidationError, path: Path | None, said: Mapping[str, Any], given: Environment) -> list[Fault]:
    def origin_of(place: setting_faults.Path) -> tuple[str, bool]:
        """The variable that set the place, or something in it or around it; else the file."""
        for length in range(len(place), 0, -1):
            if place[:length] in given.origins:
                return given.origins[place[:length]], True
        beside = [name for origin, name in given.origins.items() if place and origin[0] == place[0]]
        if path is not None and (not beside or (place and place[0] in said)):
            return str(path), False
        return (beside[0], True) if beside else ("the environment", True)

    return [setting_faults.fault(one, Settings, origin_of) for one in error.errors(include_url=False)]


def _read(path: Path) -> dict[str, Any]:
    """What is not filled in (`policy:` with everything below it commented out) is not given."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        why = f"{path}: cannot be read: {error.strerror}; remedy: name another file with --config"
        raise SettingsError(why) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is no text; remedy: save it as UTF-8") from error
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: is not YAML{_yaml_place(error)}; remedy: mend that line") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise SettingsError(f"{path}: must hold a mapping, not a {kind}; remedy: write `name: value` lines")
    return {str(name): value for name, value in found.items() if value is not None}


def _yaml_place(error: yaml.YAMLError) -> str:
    """Where, and what; without the line itself or a word of it, which may be a secret."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ""
    mark = error.problem_mark
    problem = re.sub(r"'[^']{2,}'", "...", error.problem or "it cannot be understood")
    return f": line {mark.line + 1}, column {mark.column + 1}: {problem}"
