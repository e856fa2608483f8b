"""The daemon's configuration: flags over environment over credentials over one YAML file over defaults. Strict: a typo is
an error."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from daemon import environment, setting_credentials, setting_faults, setting_file
from daemon.registration import Registration
from daemon.setting_faults import Fault, SettingsError, wrong
from daemon.setting_kinds import (
    HostAndPort,
    HttpUrl,
    Number,
    Section,
    Servers,
    Whole,
    on_or_off,
    readable_file,
    sendable_token,
    supported_database,
)
from daemon.setting_layers import Layer, Layers, Origin, Source
from daemon.setting_notify import Notify
from daemon.setting_snapshots import Snapshots
from machines.model import Mode, Setting
from machines.policy import Policy

__all__ = ["Loaded", "Settings", "SettingsError", "Snapshots", "load", "read"]


class Http(Section):
    """The API's listener."""

    host: str = Field("127.0.0.1", min_length=1)
    port: Whole = Field(8787, ge=0, le=65535)
    token: Annotated[SecretStr, AfterValidator(sendable_token)] | None = None
    """Whoever bears it may do everything; without one, one is made and kept in `<state_dir>/token`."""
    certificate: Annotated[Path, AfterValidator(readable_file)] | None = None
    """The server's certificate and what it was signed with, in PEM form; with it the API speaks TLS alone."""
    key: Annotated[Path, AfterValidator(readable_file)] | None = None
    """The certificate's private key, in PEM form and without a password."""
    requests_per_s: Number = Field(100.0, gt=0, le=100_000)
    """Of one token; what it may send at once is `burst`."""
    burst: Whole = Field(500, ge=1, le=1_000_000)
    max_waiting: Whole = Field(100, ge=1, le=10_000)
    """Requests that wait for a failover's end, of all tokens together."""

    @model_validator(mode="after")
    def _a_certificate_has_a_key(self) -> Http:
        if (self.certificate is None) != (self.key is None):
            raise wrong("needs key, and the reverse", "give both files, or neither", "certificate")
        return self

    @property
    def scheme(self) -> str:
        return "http" if self.certificate is None else "https"


class Kafka(Section):
    """The broker; without this section the log lives inside the process."""

    bootstrap: Servers = Field(examples=["127.0.0.1:9092"])
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Annotated[Path, AfterValidator(readable_file)] | None = None
    ssl_certfile: Annotated[Path, AfterValidator(readable_file)] | None = None
    """Our certificate, for a broker that asks for one (mutual TLS)."""
    ssl_keyfile: Annotated[Path, AfterValidator(readable_file)] | None = None
    ssl_key_password: SecretStr | None = None
    ssl_check_hostname: bool = True
    """Whether the broker's certificate must bear the name by which it is reached."""
    replication_factor: Whole = Field(-1, ge=-1, le=100)

    @model_validator(mode="after")
    def _sasl_has_a_name_and_a_password(self) -> Kafka:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            text = f"{self.security_protocol} needs sasl_username and sasl_password"
            raise wrong(text, "give both, or choose PLAINTEXT or SSL", "security_protocol")
        return self

    @model_validator(mode="after")
    def _what_is_named_is_used(self) -> Kafka:
        """A setting that would do nothing is a mistake: whoever names an authority believes that it is checked."""
        tls = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password")
        named = [name for name in tls if getattr(self, name) is not None]
        if named and not self.security_protocol.endswith("SSL"):
            text = f"{named[0]} is named, and {self.security_protocol} uses no TLS"
            raise wrong(text, "choose SSL or SASL_SSL", "security_protocol")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise wrong("ssl_keyfile is named without its certificate", "name ssl_certfile, too", "ssl_certfile")
        if self.sasl_username and not self.security_protocol.startswith("SASL"):
            text = f"sasl_username is named, and {self.security_protocol} asks for no name"
            raise wrong(text, "choose SASL_PLAINTEXT or SASL_SSL", "security_protocol")
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
    webhook_url: HttpUrl | None = None
    """The public address of this daemon's `/api/v1/webhooks/vast`: the webhook is made on the account where it has none."""
    webhook_secret: SecretStr | None = None
    """Of a webhook that an operator made; where `webhook_url` is set, the provider's own is kept in the database."""


def _zone(text: str) -> str:
    if not re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", text):
        raise wrong("names no zone", "write it like europe-west4-a")
    return text


def _key_file(path: Path) -> Path:
    if not path.is_file():
        raise wrong("is no file that can be read", "name the JSON key of a service account, or leave it out")
    return path


class Gce(Section):
    """Compute Engine, where the VMs of CPU standbys are made; without this section there are none."""

    project: str = Field(
        pattern=r"^[a-z][a-z0-9:.-]{1,61}[a-z0-9]$",
        description="a project's id; VMs that there are stay in theirs",
        examples=["my-project"],
    )
    zones: list[Annotated[str, AfterValidator(_zone)]] = Field(min_length=1, examples=["[europe-west4-a]"])
    """In the order in which they are tried: the next one where one has no capacity."""
    machine_type: str = Field("e2-standard-4", pattern=r"^[a-z][a-z0-9-]{1,62}$", description="a machine type's name")
    image: str = Field("projects/debian-cloud/global/images/family/debian-12", min_length=1, max_length=300)
    disk_gb: Whole = Field(100, ge=10, le=65536)
    network: str = Field("global/networks/default", min_length=1, max_length=300)
    spot: bool = False
    """Cheaper, and reclaimed at any time; a reclaimed one is started again."""
    credentials_file: Annotated[Path, AfterValidator(_key_file)] | None = None
    """A service account's JSON key; None is what this machine is given."""
    copy_every_s: Number = Field(300.0, ge=30, le=604_800)
    """Between two copies of a machine's workspace onto its VM."""
    copy_keep_percent: Whole = Field(50, ge=0, le=100)
    """A copy with less than so much of the last one's files or bytes is refused until an operator says that it was meant
    (`accept_smaller_copy`)."""
    endpoint: HttpUrl | None = None
    """None is Google's; a simulated one on this machine is asked without credentials."""


class Ssh(Section):
    key_file: Path | None = None
    """An ed25519 key; None is `<state_dir>/ssh_key`, made when missing."""
    witnesses: list[HostAndPort] = Field(default_factory=list)
    """host:port of SSH servers that must answer before a mute machine counts as mute; other machines count too."""


class AgentOptions(Section):
    """How the agents of replacements report."""

    kafka: Servers | None = None
    """Bootstrap servers as seen from a rented machine."""
    url: HttpUrl | None = None
    """The daemon's address as seen from a rented machine; used where `kafka` is not set."""
    install: str = "pip install --quiet failoverd"
    """Run where the command `failoverd` is missing on a replacement."""


def _program(command: list[str]) -> list[str]:
    if not command or not os.access(command[0], os.X_OK) or not Path(command[0]).is_file():
        raise wrong("names no program that can be run", "give a list: the program's whole path, then its arguments")
    return command


class Hooks(Section):
    """Programs of yours that hear of events, by environment (FAILOVERD_...) and JSON on standard input."""

    handed_over: Annotated[list[str], AfterValidator(_program)] | None = None
    """Run after each hand-over until it ends with status 0: re-point what names the machine's address."""
    timeout_s: Number = Field(60.0, gt=0, le=3600)


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
    max_failover_cost: Number = Field(_USUAL.max_failover_cost, gt=0, le=100_000)
    max_fleet_price: Number = Field(_USUAL.max_fleet_price, ge=0, le=1_000_000)
    max_spend: Number = Field(_USUAL.max_spend, ge=0, le=1_000_000)
    spend_window_s: Number = Field(_USUAL.spend_window_s, ge=60, le=31_536_000)
    min_reliability: Number = Field(_USUAL.min_reliability, ge=0, le=1)
    min_inet_down_mbps: Number = Field(_USUAL.min_inet_down_mbps, ge=0, le=100_000)
    candidate_width: Whole = Field(_USUAL.candidate_width, ge=1, le=5)
    accepted_odds: Number = Field(_USUAL.accepted_odds, gt=0, le=1)
    max_candidates: Whole = Field(_USUAL.max_candidates, ge=1, le=80)
    max_snapshot_age_s: Number = Field(_USUAL.max_snapshot_age_s, ge=60, le=31_536_000)
    boot_timeout_s: Number = Field(_USUAL.boot_timeout_s, ge=10, le=86400)
    credit_hours: Number = Field(_USUAL.credit_hours, ge=0, le=8760)
    contract_notice_days: Number = Field(_USUAL.contract_notice_days, ge=0, le=365)
    replica_every_s: Number = Field(_USUAL.replica_every_s, ge=0, le=31_536_000)
    deletes_orphan_volumes: bool = _USUAL.deletes_orphan_volumes
    destroys_orphans: bool = _USUAL.destroys_orphans
    strategy: Literal["warm_pool", "cpu_standby", "both", "regional_volume", "disabled"] = "cpu_standby"
    auto_failover: Annotated[Literal["off", "observe", "on"], BeforeValidator(on_or_off)] = "on"
    priority: Whole = Field(_USUAL.priority, ge=-1000, le=1000)

    @model_validator(mode="after")
    def _fields_agree(self) -> PolicySection:
        """What would leave the daemon waiting for something that its own settings rule out."""
        for name, other, why in NOT_BELOW:
            least, found = getattr(self, other), getattr(self, name)
            if found < least:
                text = f"is {found:g}, below {other} ({least:g}): {why}"
                raise wrong(text, f"raise {name}, or lower {other}", name)
        return self

    def policy(self) -> Policy:
        named = {"strategy": Setting(self.strategy), "auto_failover": Mode(self.auto_failover)}
        return Policy(**{**self.model_dump(), **named})


NOT_BELOW = (
    ("grace_cap_s", "grace_floor_s", "no grace could satisfy both"),
    ("probe_every_s", "first_probe_again_s", "the first pause is the shortest"),
    ("evidence_max_age_s", "probe_every_s", "all evidence would be too old before it is asked for again"),
    ("max_candidates", "candidate_width", "they are rented at one time"),
)


class MachineEntry(Registration):
    """A machine in the configuration file: its id, and what `PUT /machines/{id}` takes."""

    id: int = Field(gt=0)
    strategy: Literal["warm_pool", "cpu_standby", "both", "regional_volume", "disabled"] | None = None
    auto_failover: Annotated[Literal["off", "observe", "on"], BeforeValidator(on_or_off)] | None = None


class Settings(Section):
    """The whole configuration. `load` reads it; made by hand it takes nothing from the environment."""

    state_dir: Path = Path("var/failoverd")
    database: Annotated[str, AfterValidator(supported_database)] | None = Field(
        None, examples=["postgresql://user:password@host/name"]
    )
    """SQLAlchemy URL; None is SQLite in the state directory."""
    http: Http = Http()
    kafka: Kafka | None = None
    topics: Topics = Topics()
    vast: Vast = Vast()
    gce: Gce | None = None
    snapshots: Snapshots = Snapshots()
    ssh: Ssh = Ssh()
    agent: AgentOptions = AgentOptions()
    hooks: Hooks = Hooks()
    notify: Notify = Notify()
    policy: PolicySection = PolicySection()
    machines: list[MachineEntry] = Field(default_factory=list)
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


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each of them was said."""

    settings: Settings
    layers: Layers


def load(path: Path | None = None, variables: Mapping[str, str] = os.environ, **flags: Any) -> Settings:
    """`read`, for those who do not ask where a value came from."""
    return read(path, variables, **flags).settings


def read(path: Path | None = None, variables: Mapping[str, str] = os.environ, **flags: Any) -> Loaded:
    """Read the file (None: there is none), the credentials, the environment, and flags named like `http__port`, of which None
    is not given. Raise SettingsError."""
    layers = Layers(
        (
            _of_flags(flags),
            environment.read(variables, Settings),
            setting_credentials.read(variables, Settings),
            setting_file.read(path) if path is not None else Layer(),
        ),
        Origin(Source.FILE, str(path)) if path is not None else Origin(Source.ENVIRONMENT, "the environment"),
    )
    faults = layers.faults
    try:
        settings = Settings.model_validate(layers.merged())
    except ValidationError as error:
        faults += [setting_faults.fault(one, Settings, layers.blamed) for one in error.errors(include_url=False)]
    if faults:
        raise SettingsError("\n".join(str(one) for one in sorted(faults, key=_line)))
    return Loaded(settings, layers)


def _line(fault: Fault) -> int:
    """In the file; what was said elsewhere comes first."""
    _, _, line = fault.where.rpartition(":")
    return int(line) if line.isdigit() else 0


def _of_flags(flags: Mapping[str, Any]) -> Layer:
    values: dict[str, Any] = {}
    origins = {}
    for name, value in flags.items():
        if value is None:
            continue
        path = tuple(name.split("__"))
        tree = values
        for part in path[:-1]:
            tree = tree.setdefault(part, {})
        tree[path[-1]] = value
        origins[path] = Origin(Source.FLAG, "--" + "-".join(path).replace("_", "-"))
    return Layer(values, origins)
