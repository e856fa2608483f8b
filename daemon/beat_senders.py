"""The two ways of a beat to the daemon: by HTTP and by Kafka. Each imports its client only where it is used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from daemon.agent import BeatSender, NotSent, line
from daemon.agent_settings import AgentSettings
from events import codec, topics
from events.schema import FromMachine

HEARTBEATS_PATH = "/api/v1/heartbeats"

log = logging.getLogger("failoverd.agent")


class ClosableSender(BeatSender, Protocol):
    async def close(self) -> None: ...


def sender_of(settings: AgentSettings) -> ClosableSender:
    """HTTP where an address of the daemon is given, else Kafka."""
    return HttpSender(settings) if settings.url is not None else KafkaSender(settings)


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
            log.debug(line("producer_stopped_badly", error=repr(error)))

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
