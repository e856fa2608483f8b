"""What CPU VMs are made of, and how long their provider is waited for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from machines.cpu_vm import Zone

VM_USER = "failoverd"
"""Whom a VM lets in with our key; it may do everything there (sudo), as Google's images have it."""


@dataclass(frozen=True, slots=True)
class GceSettings:
    """One project. Durations are scaled seconds, except those of sockets."""

    project: str
    zones: tuple[Zone, ...]
    """In the order in which they are tried."""
    machine_type: str = "e2-standard-4"
    image: str = "projects/debian-cloud/global/images/family/debian-12"
    disk_gb: int = 100
    network: str = "global/networks/default"
    is_spot: bool = False
    ssh_key: str = ""
    """Our public key: a VM lets in who was named when it was made."""
    operation_patience_s: float = 20.0
    """So long one call waits for its operation; after that it says NotYet, and is asked again."""
    answer_within_s: float = 30.0
    """Real seconds in which a request must be answered."""


@dataclass(frozen=True, slots=True)
class GceAccess:
    """How the provider is reached."""

    credentials_file: Path | None = None
    """A service account's key; None is what the machine itself is given (Application Default Credentials)."""
    endpoint: str | None = None
    """None is Google's own. One on this machine is asked without credentials, unless a file names some."""
