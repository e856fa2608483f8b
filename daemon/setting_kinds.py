"""The kinds of values that settings hold: each refuses what it is not, in words that say what would be right."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr

from adapters.sql.urls import wrong_url
from daemon.setting_faults import wrong


def _no_flag(value: Any) -> Any:
    """YAML's `yes` is no number, though Python counts with it."""
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


def on_or_off(value: Any) -> Any:
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


def _ssh_server(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise wrong("must be host:port, without a scheme", "write each of the list like github.com:22")
    return text


def sendable_token(token: SecretStr) -> SecretStr:
    """An empty one would lock everybody out, and one with blanks cannot be sent."""
    if not re.fullmatch(r"[\x21-\x7e]+", token.get_secret_value()):
        what = (
            "has characters that no header can carry" if token.get_secret_value() else "is empty: nobody could get in"
        )
        raise wrong(what, "leave it out (one is made in <state_dir>/token), or give a long random text without blanks")
    return token


def supported_database(url: str) -> str:
    found = wrong_url(url)
    if found is not None:
        raise wrong(
            found, "write sqlite:///path/to/failoverd.db or postgresql://user:password@host/name, or leave it out"
        )
    return url


def readable_file(path: Path) -> Path:
    if not path.is_file():
        raise wrong("is no file that can be read", "name a file in PEM form")
    return path


def bucket_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        raise wrong("is no bucket's name", "3 to 63 small letters, digits, '.' and '-', like my-snapshots")
    return name


def name_prefix(text: str) -> str:
    """Without slashes around it."""
    clean = text.strip("/")
    if len(clean) > 200 or not re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*|", clean) or ".." in clean.split("/"):
        raise wrong("is no prefix of names", "letters, digits, '.', '_' and '-', with single slashes between")
    return clean


def is_loopback(host: str) -> bool:
    """Only an address that is surely this machine's own; a name other than localhost may be anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Whole = Annotated[int, BeforeValidator(_no_flag)]
Number = Annotated[float, BeforeValidator(_no_flag)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Servers = Annotated[str, AfterValidator(_servers)]
HostAndPort = Annotated[str, AfterValidator(_ssh_server)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
