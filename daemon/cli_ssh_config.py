"""`failoverd ssh-config`: an include file of OpenSSH that points at each machine's present instance.

Beside it lies a file of known hosts with the key that failoverd pinned when the instance became the machine, under a name
of the machine's own: after a failover nobody is warned of a changed host key, and a wrong one is still refused.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.cli_output import pause
from daemon.client import EXIT_FAILED, ApiClient, ClientError
from daemon.screens import harmless

WATCH_EVERY_S = 5.0
VM_USER = "failoverd"
"""Whom a CPU VM lets in with the machine's own SSH keys."""
_HEAD = "# Written by `failoverd ssh-config`; what you change here is overwritten.\n"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]*(%[A-Za-z0-9._-]+)?")
_KEY = re.compile(r"[A-Za-z0-9@.-]+ [A-Za-z0-9+/=]+( [ -~]*)?")


@dataclass(frozen=True, slots=True)
class Files:
    """The include file and the known hosts that it names."""

    config: Path
    known_hosts: Path

    @classmethod
    def at(cls, config: Path) -> Files:
        return cls(config, config.with_name(config.name + ".known_hosts"))


def print_config(api: ApiClient, user: str, files: Files) -> None:
    """The include file alone, as it would be written. Raise ClientError."""
    sys.stdout.write(config(api.machines(), user, files.known_hosts))


def write_config(api: ApiClient, user: str, files: Files, *, watch: bool) -> None:
    """Once, or again whenever a machine has moved, until Ctrl-C. While a daemon that is watched does not answer, the files stay as
    they are. Raise ClientError."""
    written: tuple[str, str] | None = None
    while True:
        try:
            machines = api.machines()
        except ClientError:
            if not watch or written is None:
                raise
        else:
            wanted = (known_hosts(machines), config(machines, user, files.known_hosts))
            if wanted != written:
                _replace(files.known_hosts, wanted[0])
                _replace(files.config, wanted[1])  # The last: it names keys that are there by now.
                written = wanted
                print(f"{len(machines)} machines written to {files.config}", file=sys.stderr, flush=True)
        if not watch or pause(WATCH_EVERY_S):
            return


def config(machines: Iterable[Mapping[str, Any]], user: str, known: Path) -> str:
    """A block for each machine that has an address: its instance's, or that of the CPU VM which serves in its place."""
    rows = [row for row in map(_at_present, machines) if _is_address(row["ssh_host"]) and row["ssh_port"]]
    names = [row["name"] for row in rows]
    return _HEAD + "".join(_block(row, names, user, known) for row in rows)


def known_hosts(machines: Iterable[Mapping[str, Any]]) -> str:
    keys = [(row, (row["ssh_host_key"] or "").strip()) for row in map(_at_present, machines)]
    return _HEAD + "".join(f"{_alias(row)} {key}\n" for row, key in keys if _KEY.fullmatch(key))


def _is_address(text: str | None) -> bool:
    """Whatever else stands there is left out: a line's end in it would begin a setting of ssh's, and ssh runs commands."""
    return text is not None and _ADDRESS.fullmatch(text) is not None


def _block(row: Mapping[str, Any], names: Sequence[str], user: str, known: Path) -> str:
    own = row["name"]
    # A name that two machines have, or that a pattern could be, is nobody's.
    aliases = [_alias(row), *([own] if names.count(own) == 1 and _PLAIN_NAME.fullmatch(own) else [])]
    lines = [
        f"Host {' '.join(aliases)}",
        f"    HostName {row['ssh_host']}",
        f"    Port {row['ssh_port']}",
        f"    User {row.get('user', user)}",
        f"    HostKeyAlias {_alias(row)}",
        f'    UserKnownHostsFile "{known}"',
        # What was not pinned yet is learned at the first visit; a key that changes later is refused all the same.
        f"    StrictHostKeyChecking {'yes' if row['ssh_host_key'] else 'accept-new'}",
    ]
    place = row.get("place", f"instance {row['gpu_instance_id']}")
    told = " ".join(harmless(own).split())
    return f"\n# {told}: {place}, {row['state']}\n" + "\n".join(lines) + "\n"


def _at_present(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The machine's row with the address of whatever serves."""
    serving = (row.get("cpu_standby") or {}).get("serving")
    return row if serving is None else {**row, **serving, "user": VM_USER, "place": "its CPU VM"}


def _alias(row: Mapping[str, Any]) -> str:
    return f"failoverd-{row['id']}"


def _replace(path: Path, text: str) -> None:
    """In one piece: ssh may read it at any moment. Raise ClientError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError as error:
        remedy = "name another file with --write"
        raise ClientError(EXIT_FAILED, "not_written", f"{path}: {error.strerror}", remedy) from error
