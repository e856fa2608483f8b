"""The heartbeat agent that runs on a GPU machine: says every few seconds that this instance is alive.

It keeps nothing but a sequence number. A beat that cannot be sent is dropped, for an old one proves nothing; the
status file tells whoever can still log in (architecture, section 4.9). It imports no more than it needs: the machine's
memory belongs to the workload.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from daemon.gpu_health import GpuProbe, NvmlProbe
from events import codec, topics
from events.schema import FromMachine, Heartbeat, Notice
from machines.errors import FailoverdError

if TYPE_CHECKING:
    from machines.ports import Clock

HEARTBEATS_PATH = "/api/v1/heartbeats"
STATUS_FILE = "~/.failoverd/agent.json"
FIRST_BEAT_WITHIN_S = 1.0
NOTICE_WITHIN_S = 1.5
CLOSE_WITHIN_S = 0.5
END_WITHIN_S = 3

log = logging.getLogger("failoverd.agent")


class NotSent(FailoverdError):
    """The event did not arrive, or nobody knows; the text names the remedy where there is one."""


class BeatSender(Protocol):
    """A way from this machine to the daemon."""

    async def send(self, event: FromMachine) -> None:
        """Arrived when it returns. Raise NotSent, or another FailoverdError; the event is forgotten then."""
        ...


class ClosableSender(BeatSender, Protocol):
    async def close(self) -> None: ...


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


class Agent:
    """Beats until it is stopped. Several may live in one process; each is one task and one timer."""

    def __init__(
        self, settings: AgentSettings, beat_sender: BeatSender, clock: Clock, boot_id: str, gpu_probe: GpuProbe
    ) -> None:
        """`boot_id` is random and new for each start: a restarted agent counts from one again and is no replay."""
        self.settings = settings
        self.boot_id = boot_id
        self.sequence = 0
        self._sender = beat_sender
        self._clock = clock
        self._gpu_probe = gpu_probe
        self._beating: asyncio.Task[None] | None = None
        self._is_over = False
        self._complaints: dict[str, str] = {}

    async def run(self) -> None:
        """Beat until `stop()`, then announce the shutdown. Cancelled, it falls silent at once, as a dead machine does."""
        if not self._is_over:
            await self._beat_until_stopped()
        await self._say_goodbye()

    def stop(self) -> None:
        """End `run` by itself; a beat under way is given up."""
        self._is_over = True
        if self._beating is not None:
            self._beating.cancel()

    async def _beat_until_stopped(self) -> None:
        self._beating = asyncio.create_task(self._beat_for_ever())
        try:
            await asyncio.wait({self._beating})
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait({self._beating})
            raise
        if not self._beating.cancelled():
            self._beating.result()

    async def _beat_for_ever(self) -> None:
        """The first beat comes soon, for a replacement is verified by it; the second takes a place of its own in the
        interval, lest a fleet that was started at once beats at once.

        The flag is asked too, because `asyncio.wait_for` swallows a cancellation that meets the end of its wait.
        """
        interval = self.settings.interval_s
        place = zlib.crc32(self.boot_id.encode()) / 2**32
        await self._clock.sleep(place * min(interval, FIRST_BEAT_WITHIN_S))
        due = self._clock.monotonic()
        await self._beat()
        due += place * interval
        while not self._is_over:
            await self._clock.sleep(due - self._clock.monotonic())
            began = self._clock.monotonic()
            await self._beat()
            due += interval
            if began >= due:
                due = began + interval  # what was slept through is not made up for

    async def _beat(self) -> None:
        gpu = await self._gpu_probe()
        self._complain("gpu", gpu if gpu not in (None, "ok") else None)
        self.sequence += 1
        settings = self.settings
        beat = Heartbeat(
            settings.machine_id, settings.instance_id, self.boot_id, self.sequence, settings.interval_s, gpu
        )
        failure = await self._try_to_send(beat, self._patience())
        self._complain("beats", failure)
        self._write_status(sent_ok=failure is None)

    def _patience(self) -> float:
        """One interval, but no network is held to less than a second or given more than ten."""
        return max(self._clock.real(1.0), min(self.settings.interval_s, self._clock.real(10.0)))

    async def _try_to_send(self, event: FromMachine, within_s: float) -> str | None:
        """What went wrong, or None."""
        try:
            await self._clock.wait_for(self._sender.send(event), within_s)
        except TimeoutError:
            return "no answer in time"
        except FailoverdError as error:
            return str(error)
        except Exception as error:  # a bug in a client library must not turn a living machine into a silent one
            return f"unexpected {error!r}"
        return None

    async def _say_goodbye(self) -> None:
        settings = self.settings
        notice = Notice(
            settings.machine_id, settings.instance_id, self.boot_id, "shutdown", "the agent was told to end"
        )
        failure = await self._try_to_send(notice, self._clock.real(NOTICE_WITHIN_S))
        log.info(
            _line("agent_stopped", machine_id=settings.machine_id, sequence=self.sequence, notice=failure or "sent")
        )

    def _write_status(self, sent_ok: bool) -> None:
        """Readers see the old file or the new one, never half of one."""
        path = self.settings.status_file
        if path is None:
            return
        at = self._clock.now().isoformat()
        status = {"boot_id": self.boot_id, "sequence": self.sequence, "at": at, "sent_ok": sent_ok}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(path.name + ".new")
            fresh.write_text(json.dumps(status) + "\n", encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            self._complain("status_file", str(error))
        else:
            self._complain("status_file", None)

    def _complain(self, about: str, problem: str | None) -> None:
        """One line when something begins to fail, fails differently, or is well again; none for each beat."""
        before = self._complaints.get(about)
        if problem == before:
            return
        where = {"machine_id": self.settings.machine_id, "sequence": self.sequence}
        if problem is None:
            del self._complaints[about]
            log.warning(_line(f"{about}_well_again", **where, was=before))
        else:
            self._complaints[about] = problem
            log.warning(_line(f"{about}_failing", **where, problem=problem))


def _line(event: str, **fields: object) -> str:
    return " ".join([event, *(f"{name}={json.dumps(value)}" for name, value in fields.items())])


class HttpSender:
    """Heartbeats and notices by HTTP, for machines that cannot reach the broker."""

    def __init__(self, settings: AgentSettings) -> None:
        import httpx  # only here: an agent that speaks Kafka needs no HTTP client

        self._httpx = httpx
        self._settings = settings
        self._client = httpx.AsyncClient(timeout=5.0)

    async def send(self, event: FromMachine) -> None:
        """Raise NotSent."""
        headers = {"Content-Type": "application/json", **self._authorization()}
        try:
            answer = await self._client.post(
                f"{self._settings.url}{HEARTBEATS_PATH}", content=codec.encode(event), headers=headers
            )
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError) as error:
            raise NotSent(f"{self._settings.url} does not answer: {error!r}") from error
        if not answer.is_success:
            raise NotSent(_refusal(answer.status_code, self._settings))

    async def close(self) -> None:
        await self._client.aclose()

    def _authorization(self) -> Mapping[str, str]:
        token = self._settings.token
        if self._settings.token_file is not None:
            try:
                token = self._settings.token_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise NotSent(f"the token cannot be read: {error}; remedy: mend --token-file") from error
        return {"Authorization": f"Bearer {token}"} if token else {}


def _refusal(status: int, settings: AgentSettings) -> str:
    machine = settings.machine_id
    match status:
        case 401:
            return (
                "401, the token is missing or unknown; remedy: give this machine's token of scope beat by --token-file"
            )
        case 403:
            return f"403, the token may not beat for machine {machine}; remedy: a token of scope beat bound to it"
        case 404:
            return (
                f"404, no heartbeats are taken at {settings.url}{HEARTBEATS_PATH} for machine {machine}; "
                "remedy: --url must be the daemon's own address, --machine-id a machine that it knows"
            )
        case _:
            return f"{settings.url} answered {status}"


class KafkaSender:
    """Heartbeats and notices into the heartbeat topic, keyed by the machine id.

    After each failure the producer is thrown away with all it holds: a new one finds brokers that have moved, and
    delivers no old beats. `request_timeout_ms` is the age at which the old one gives up by itself.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._topic = settings.topic_prefix + topics.HEARTBEATS
        self._producer: Any = None
        self._retiring: set[asyncio.Task[None]] = set()

    async def send(self, event: FromMachine) -> None:
        """Raise NotSent."""
        from aiokafka.errors import KafkaError  # only here: an agent that speaks HTTP needs no Kafka client

        try:
            if self._producer is None:
                self._producer = self._new_producer()
                await self._producer.start()
            await self._producer.send_and_wait(self._topic, codec.encode(event), key=str(event.machine_id).encode())
        except (KafkaError, OSError) as error:
            self._retire()
            raise NotSent(f"broker {self._settings.kafka}, topic {self._topic}: {error!r}") from error
        except BaseException:  # a time-out from outside comes as a cancellation
            self._retire()
            raise

    async def close(self) -> None:
        self._retire()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def _retire(self) -> None:
        """Not awaited: stopping flushes first, and with a broker away that takes until everything has expired."""
        if self._producer is not None:
            stopping = asyncio.create_task(self._producer.stop())
            self._retiring.add(stopping)
            stopping.add_done_callback(self._retired)
        self._producer = None

    def _retired(self, stopping: asyncio.Task[None]) -> None:
        self._retiring.discard(stopping)
        if not stopping.cancelled() and (error := stopping.exception()) is not None:
            log.debug(_line("producer_stopped_badly", error=repr(error)))

    def _new_producer(self) -> Any:
        from aiokafka import AIOKafkaProducer
        from aiokafka.helpers import create_ssl_context

        security = self._settings.security
        is_tls = security.protocol.endswith("SSL")
        return AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka,
            client_id=f"failoverd-agent-{self._settings.machine_id}",
            acks=1,
            enable_idempotence=False,
            linger_ms=20,
            request_timeout_ms=round(1000 * min(max(self._settings.interval_s, 2.0), 10.0)),
            security_protocol=security.protocol,
            ssl_context=create_ssl_context(cafile=security.ca_file) if is_tls else None,
            sasl_mechanism=security.mechanism,
            sasl_plain_username=security.username,
            sasl_plain_password=security.password,
        )


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


def main(argv: Sequence[str]) -> int:
    """The process: until SIGTERM or SIGINT, then gone within three seconds."""
    settings = parse(argv, os.environ)
    if settings.is_detached and not _detach(settings.status_file):
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for chatty in ("httpx", "httpcore", "aiokafka"):  # their line for each beat or retry; ours says it once
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    asyncio.run(_serve(settings))
    return 0


def _detach(status_file: Path | None) -> bool:
    """Fork; True in the child, which leads a session of its own. One agent per machine: the one before is ended."""
    if os.fork() > 0:
        return False
    os.setsid()
    folder = status_file.parent if status_file is not None else Path.home()
    folder.mkdir(parents=True, exist_ok=True)
    pid_file = folder / "agent.pid"
    _end_previous(pid_file)
    pid_file.write_text(str(os.getpid()))
    with open(os.devnull, "rb") as nothing, open(folder / "agent.log", "ab") as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    return True


def _end_previous(pid_file: Path) -> None:
    """End the agent named in the file, if that process still is one: numbers are used again."""
    try:
        pid = int(pid_file.read_text())
        if b"failoverd" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return  # None ran before.


async def _serve(settings: AgentSettings) -> None:
    from adapters.system_clock import SystemClock, SystemRandom

    clock = SystemClock(settings.speed)
    sender: ClosableSender = HttpSender(settings) if settings.url is not None else KafkaSender(settings)
    agent = Agent(settings, sender, clock, SystemRandom().token(), NvmlProbe(clock, gpus=settings.gpus))

    def end() -> None:
        signal.alarm(END_WITHIN_S)  # whatever hangs then (a resolver's thread, say), the process ends
        agent.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    log.info(
        _line("agent_started", machine_id=settings.machine_id, instance_id=settings.instance_id, boot_id=agent.boot_id)
    )
    await agent.run()
    try:
        await clock.wait_for(sender.close(), CLOSE_WITHIN_S)
    except TimeoutError:
        pass  # the rest is flushed to nobody
