"""How to reach the broker, and how long to wait for it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Times are real seconds: no network becomes faster because a simulation does."""

    bootstrap: str
    """host:port, several separated by commas; asked at every new connection."""

    client_id: str = "failoverd"
    security_protocol: str = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""

    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    """The authority that signed the broker's certificate; the system's authorities where it is not given."""

    ssl_certfile: str | None = None
    """Our own certificate (PEM), where the broker asks for one; its key is in the same file where `ssl_keyfile` is not given."""

    ssl_keyfile: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    ssl_check_hostname: bool = True
    """False only where brokers go by names that their certificates do not have; the authority is checked all the same."""

    replication_factor: int = -1
    """Of topics that are created here; -1 = as the broker's default says."""

    request_timeout_s: float = 10.0
    append_timeout_s: float = 5.0
    """An append that was not acknowledged by then raises LogUnavailable."""

    session_timeout_s: float = 6.0
    """A group member that is silent for so long loses its partitions."""

    silence_limit_s: float = 3.0
    """No answer to a fetch for so long: poll raises LogUnavailable. Fetches are answered twice a second, also empty."""

    give_up_after_s: float = 30.0
    """A client that has failed for so long is thrown away: brokers move, and only a new one asks `bootstrap` again."""

    def client_arguments(self) -> dict[str, Any]:
        """What aiokafka's producer, consumer and admin client have in common."""
        return {
            "bootstrap_servers": [server.strip() for server in self.bootstrap.split(",") if server.strip()],
            "client_id": self.client_id,
            "request_timeout_ms": round(self.request_timeout_s * 1000),
            # A topic or a partition that appears later is noticed within this time.
            "metadata_max_age_ms": 10_000,
            "security_protocol": self.security_protocol,
            "ssl_context": self._ssl_context(),
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
        }

    def _ssl_context(self) -> ssl.SSLContext | None:
        if "SSL" not in self.security_protocol.split("_"):
            return None
        context = ssl.create_default_context(cafile=self.ssl_cafile)
        if self.ssl_certfile is not None:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, lambda: self.ssl_key_password or "")
        context.check_hostname = self.ssl_check_hostname
        return context
