"""What an agent is told by its command line and its environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STATUS_FILE = "~/.failoverd/agent.json"


@dataclass(frozen=True)
class KafkaSecurity:
    """How the broker wants to be spoken to; the names and values are Kafka's."""

    protocol: str = "PLAINTEXT"
    ca_file: Path | None = None
    mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class AgentSettings:
    """Which instance of which machine speaks, how often, and to whom."""

    machine_id: int
    instance_id: int
    interval_s: float = 10.0
    kafka: str | None = None
    """Bootstrap servers, "host:port,host:port"."""
    url: str | None = None
    """The daemon's address, without a path."""
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """Read for each beat, so that a renewed token needs no restart; goes before `token`."""
    topic_prefix: str = ""
    status_file: Path | None = None
    """None writes none."""
    gpus: int | None = None
    """How many GPUs must be there; None is as many as at the start."""
    security: KafkaSecurity = KafkaSecurity()
    is_detached: bool = False
    """Leave the caller's session, and end the agent that ran before."""
    speed: float = 1.0
    """Runs beside a simulated world whose time passes so many times faster."""


def parse(argv: Sequence[str], env: Mapping[str, str]) -> AgentSettings:
    """A flag goes before its environment variable. Exit with 2 and a line that names the flag and the remedy."""
    parser = _parser(env)
    given = parser.parse_args(argv)
    kafka, url = _destination(parser, given.kafka, given.url, env)
    return AgentSettings(
        machine_id=_wanted(parser, "--machine-id", given.machine_id, "FAILOVERD_MACHINE_ID"),
        instance_id=_wanted(parser, "--instance-id", given.instance_id, "FAILOVERD_INSTANCE_ID"),
        interval_s=given.interval,
        kafka=kafka,
        url=url,
        token=env.get("FAILOVERD_BEAT_TOKEN"),
        token_file=given.token_file,
        topic_prefix=given.topic_prefix,
        status_file=given.status_file,
        gpus=given.gpus,
        security=_security(parser, given, env.get("FAILOVERD_KAFKA_PASSWORD")),
        is_detached=given.detach,
        speed=given.speed,
    )


def _parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "failoverd agent",
        description="Sends this machine's heartbeats. Give one of --kafka and --url.",
        epilog="Secrets come by environment only: FAILOVERD_BEAT_TOKEN, FAILOVERD_KAFKA_PASSWORD.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--machine-id", type=_id, metavar="ID", default=env.get("FAILOVERD_MACHINE_ID"), help="FAILOVERD_MACHINE_ID")
    add("--instance-id", type=_id, metavar="ID", default=_instance(env), help="FAILOVERD_INSTANCE_ID, CONTAINER_ID")
    add("--interval", type=_interval, metavar="SECONDS", default=10.0, help="between two beats (default: 10)")
    add("--kafka", type=_servers, metavar="HOST:PORT", help="FAILOVERD_KAFKA; several are separated by commas")
    add("--url", type=_url, metavar="URL", help="FAILOVERD_URL; the daemon, for machines that cannot reach the broker")
    add("--token-file", type=_readable, metavar="FILE", help="the daemon's token, of scope beat")
    add("--topic-prefix", metavar="TEXT", default=env.get("FAILOVERD_TOPIC_PREFIX", ""), help="FAILOVERD_TOPIC_PREFIX")
    add("--status-file", type=_path, metavar="FILE", default=STATUS_FILE, help=f"default: {STATUS_FILE}")
    add("--detach", action="store_true", help="go on in the background, and end the agent that ran before")
    add("--speed", type=float, metavar="X", default=1.0, help="beside a simulated world that runs so much faster")
    add("--gpus", type=int, metavar="N", help="how many GPUs must be there (default: as many as at the start)")
    for name, kind, default in (
        ("security-protocol", _one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"), "PLAINTEXT"),
        ("sasl-mechanism", _one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), "PLAIN"),
        ("username", str, None),
        ("ca-file", _readable, None),
    ):
        variable = "FAILOVERD_KAFKA_" + name.upper().replace("-", "_")
        add(f"--kafka-{name}", type=kind, default=env.get(variable, default), help=variable)
    return parser


def _instance(env: Mapping[str, str]) -> str | None:
    """Vast tells a container its own number in two ways; facts of its image, not of ours."""
    named = env.get("FAILOVERD_INSTANCE_ID") or env.get("CONTAINER_ID")
    return named or env.get("VAST_CONTAINERLABEL", "").removeprefix("C.") or None


def _destination(
    parser: argparse.ArgumentParser, kafka: str | None, url: str | None, env: Mapping[str, str]
) -> tuple[str | None, str | None]:
    if kafka is None and url is None:
        try:
            kafka = _servers(env["FAILOVERD_KAFKA"]) if env.get("FAILOVERD_KAFKA") else None
            url = _url(env["FAILOVERD_URL"]) if env.get("FAILOVERD_URL") else None
        except argparse.ArgumentTypeError as error:
            parser.error(str(error))
    if kafka is not None and url is not None:
        parser.error("--kafka and --url are both given (FAILOVERD_KAFKA, FAILOVERD_URL); leave one out")
    if kafka is None and url is None:
        parser.error(
            "nobody to beat to; give --kafka host:port (FAILOVERD_KAFKA) or --url http://host:port (FAILOVERD_URL)"
        )
    return kafka, url


def _security(parser: argparse.ArgumentParser, given: argparse.Namespace, password: str | None) -> KafkaSecurity:
    if given.kafka_security_protocol.startswith("SASL") and not (given.kafka_username and password):
        parser.error("SASL needs a name and a password; give --kafka-username and set FAILOVERD_KAFKA_PASSWORD")
    return KafkaSecurity(
        given.kafka_security_protocol, given.kafka_ca_file, given.kafka_sasl_mechanism, given.kafka_username, password
    )


def _wanted(parser: argparse.ArgumentParser, flag: str, value: int | None, variable: str) -> int:
    if value is None:
        parser.error(f"{flag} is missing; give {flag} N, or set {variable}")
    return value


def _id(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 1 << 62:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no id; give a whole number by the flag or its environment variable")


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if 0.05 <= seconds <= 86400:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no interval; give seconds from 0.05 to 86400")


def _servers(text: str) -> str:
    for server in text.split(","):
        host, _, port = server.rpartition(":")
        if not host or "/" in host or not port.isdigit():
            raise argparse.ArgumentTypeError(f"{text!r} is no broker (--kafka); give host:port, without a scheme")
    return text


def _url(text: str) -> str:
    if text.startswith(("http://", "https://")) and text.partition("://")[2].strip("/"):
        return text.rstrip("/")
    raise argparse.ArgumentTypeError(f"{text!r} is no address (--url); give http://host:port or https://host:port")


def _one_of(*known: str) -> Callable[[str], str]:
    """Unlike argparse's `choices`, this holds for values from the environment too."""

    def chosen(text: str) -> str:
        if text in known:
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is not known; give one of {', '.join(known)}")

    return chosen


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _readable(text: str) -> Path:
    path = _path(text)
    if os.access(path, os.R_OK) and not path.is_dir():
        return path
    raise argparse.ArgumentTypeError(f"{path} cannot be read; name a file that is there and may be read")
