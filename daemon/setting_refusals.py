"""What a start would refuse although each setting is right by itself; nothing is made, and nobody is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from adapters.sql.urls import missing_file
from daemon.notify_wiring import unusable
from daemon.setting_faults import Fault, SettingsError
from daemon.setting_faults import Path as Place
from daemon.setting_kinds import is_loopback
from daemon.settings import Loaded

_SHORTEST_PUBLIC_TOKEN = 32
_NO_PLACE = (Path("/proc"), Path("/sys"))
"""Root may write there, and still can make no file."""


def refusals(loaded: Loaded) -> list[Fault]:
    """What `run` looks at before it does anything."""
    return [*_key(loaded), *open_door(loaded), *_channels(loaded)]


def open_door(loaded: Loaded) -> Iterator[Fault]:
    """Whoever can reach the API can try tokens, so a short one is none."""
    http = loaded.settings.http
    if is_loopback(http.host):
        return
    if http.token is None:
        remedy = "set http.token (FAILOVERD_HTTP__TOKEN), as from `openssl rand -hex 24`; or http.host: 127.0.0.1"
        yield _fault(
            loaded, ("http", "host"), f"{http.host} can be reached by others, and there is no http.token", remedy
        )
    elif len(http.token.get_secret_value()) < _SHORTEST_PUBLIC_TOKEN:
        text = f"is shorter than {_SHORTEST_PUBLIC_TOKEN} characters, and others can reach http.host ({http.host})"
        yield _fault(loaded, ("http", "token"), text, "take a longer one, as from `openssl rand -hex 24`")


def unusable_places(loaded: Loaded) -> list[Fault]:
    """What `run` finds when it opens its folder, its database, its SSH key and its certificate."""
    return [*_folder(loaded), *_database(loaded), *_ssh_key(loaded), *_certificate(loaded)]


def unwritable(folder: Path) -> str | None:
    """Why no file can be made in it, though it may not be there yet; None where one can."""
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        return f"{there} is no folder"
    if not os.access(there, os.W_OK | os.X_OK) or any(there.is_relative_to(one) for one in _NO_PLACE):
        return f"{there} cannot be written by this user"
    return None


def _key(loaded: Loaded) -> Iterator[Fault]:
    """Without a key every question to the provider fails, and a daemon that only looks alive protects nobody."""
    if not loaded.settings.vast.api_key.get_secret_value().strip():
        yield _fault(loaded, ("vast", "api_key"), "is empty", "set FAILOVERD_VAST__API_KEY (`failoverd sim` takes any)")


def _channels(loaded: Loaded) -> Iterator[Fault]:
    for number, text, remedy in unusable(loaded.settings.notify):
        yield _fault(loaded, ("notify", "channels", str(number), "url"), text, remedy)


def _folder(loaded: Loaded) -> Iterator[Fault]:
    if (why := unwritable(loaded.settings.state_dir)) is not None:
        yield _fault(loaded, ("state_dir",), why, "name a folder that the daemon's user may write")


def _database(loaded: Loaded) -> Iterator[Fault]:
    """SQLite makes a file, and no folder for it."""
    url = loaded.settings.database
    if url is None or (file := missing_file(url)) is None:
        return
    folder = Path(file).absolute().parent
    why = unwritable(folder) if folder.exists() else f"{folder} is not there"
    if why is not None:
        yield _fault(loaded, ("database",), why, "make that folder, or name another database")


def _ssh_key(loaded: Loaded) -> Iterator[Fault]:
    settings = loaded.settings
    path = settings.ssh.key_file or settings.state_dir / "ssh_key"
    why = None
    if path.exists():
        from adapters.ssh import KeyUnusable, load_or_create_key

        try:
            load_or_create_key(path)
        except KeyUnusable as error:
            why = str(error)
    elif settings.ssh.key_file is not None:
        why = unwritable(path.parent)
    if why is not None:
        remedy = "name an OpenSSH private key without a passphrase, or a file that is not there yet: it is made"
        yield _fault(loaded, ("ssh", "key_file"), f"{path}: {why}", remedy)


def _certificate(loaded: Loaded) -> Iterator[Fault]:
    if loaded.settings.http.certificate is None:
        return
    from daemon.api.wiring import tls

    try:
        tls(loaded.settings.http)
    except SettingsError as error:
        text, _, remedy = str(error).removeprefix("http.certificate: ").partition("; remedy: ")
        yield _fault(loaded, ("http", "certificate"), text, remedy)


def _fault(loaded: Loaded, place: Place, text: str, remedy: str) -> Fault:
    return Fault(str(loaded.layers.blamed(place)), ".".join(place), text, remedy)
