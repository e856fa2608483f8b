"""The HTTP door from the settings: its listener, its certificate, its limits."""

from __future__ import annotations

import ssl

from daemon.api.app import create_app
from daemon.api.limits import Limits
from daemon.api.server import ApiServer, Tls
from daemon.api.services import Services
from daemon.settings import Http, SettingsError
from machines.ports import Clock


def limits(http: Http) -> Limits:
    return Limits(http.requests_per_s, http.burst, http.max_waiting)


def listener(services: Services, http: Http, clock: Clock) -> ApiServer:
    """Raise SettingsError where it would be open to everybody, or its certificate and key are none."""
    try:
        return ApiServer(create_app(services), http.host, http.port, clock, tls(http))
    except ValueError as error:
        remedy = "set http.token (FAILOVERD_HTTP__TOKEN), or http.host: 127.0.0.1"
        raise SettingsError(f"http.host: {error}; remedy: {remedy}") from error


def tls(http: Http) -> Tls | None:
    """Tried here, so that a wrong file is told of before anything begins. Raise SettingsError."""
    if http.certificate is None or http.key is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(http.certificate, http.key, password=_no_password)
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)).partition(" (_ssl")[0] if isinstance(error, OSError) else str(error)
        remedy = "a certificate in PEM form, and the key that belongs to it, without a password"
        raise SettingsError(
            f"http.certificate: {http.certificate} with {http.key} cannot be used: {why}; remedy: {remedy}"
        ) from error
    return Tls(http.certificate, http.key)


def _no_password() -> str:
    """Asked for one, the library would ask whoever sits at the terminal."""
    raise ValueError("the key has a password")
