"""Where a customer's work may lie: an absolute path that is not the system's own."""

from __future__ import annotations

import posixpath

LONGEST = 1024
WANTED = "an absolute path of a folder of its own, such as /workspace"

_THE_SYSTEMS = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
)
"""Neither they nor anything below them."""
_ONLY_BELOW = ("/", "/home", "/opt", "/tmp", "/usr", "/var")
"""A folder below them may be the customer's. `/mnt`, `/media` and `/srv` are there to be taken: volumes are mounted on them."""
_ALSO_THE_SYSTEMS = (
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/sbin",
    "/var/lib",
    "/var/run",
)


class NoWorkspace(ValueError):
    """A restore there would write over the system, or the path says nothing; the text says which."""


def normalised(path: object) -> str:
    """The path without `.`, `..`, doubled and trailing slashes. Raise NoWorkspace."""
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise NoWorkspace(f"it must be {WANTED}")
    if len(path) > LONGEST:
        raise NoWorkspace(f"it has {len(path)} characters, at most {LONGEST} are taken")
    # normpath keeps two leading slashes, which mean nothing on Linux.
    clean = "/" + posixpath.normpath(path).lstrip("/")
    if clean in _ONLY_BELOW or any(_is_within(clean, root) for root in (*_THE_SYSTEMS, *_ALSO_THE_SYSTEMS)):
        raise NoWorkspace(f"{clean} belongs to the system, and a restore would write over it; it must be {WANTED}")
    return clean


def _is_within(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
