"""The commands that our steps send to an instance: made here and read here, so that no second place knows how they look.

`line()` is what a shell runs; `read` is its exact inverse, for instances that have no shell (a simulation).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TypeAlias

from machines.onstart import let_go

HOME = '"$HOME/.failoverd"'
AGENT_LINE = f"sh {HOME}/agent.sh"
ONSTART_LINE = 'sh "$HOME/.failoverd/agent.sh"'
"""What starts the agent again at every start of the container."""
_WORD = r"""('(?:[^']|'"'"')*'|[^\s'"]+)"""

MISSING = "-"
"""What HashFiles says of a file that is not there."""
_HASH = r"""
plain=1
for file do [ -f "$file" ] || plain=0; done
if [ $plain = 1 ] && lines=$(sha256sum -- "$@" 2>/dev/null) && [ "$(printf '%s\n' "$lines" | wc -l)" -eq $# ]; then
    printf '%s\n' "$lines" | sed 's/^[\\]//' | cut -c1-64
else
    for file do
        digest=
        [ -f "$file" ] && digest=$(sha256sum < "$file" | cut -c1-64)
        printf '%s\n' "${digest:--}"
    done
fi
"""
"""One process for all files where each is there and has one line, else one for each. Names begin with ./, so that none
reads as an option."""


class UnknownLine(ValueError):
    """None of our steps sends such a command."""


@dataclass(frozen=True, slots=True)
class ListGpus:
    def line(self) -> str:
        return "nvidia-smi -L"


@dataclass(frozen=True, slots=True)
class CheckPlace:
    """GPU and disk in one command: GPU names, `---`, and the last line of df."""

    workspace: str

    def line(self) -> str:
        place = shlex.quote(self.workspace)
        return (
            f"mkdir -p {place} && nvidia-smi --query-gpu=name --format=csv,noheader"
            f" && echo --- && df -Pk {place} | tail -n 1"
        )


@dataclass(frozen=True, slots=True)
class HashFiles:
    """The digests of the files whose names come over standard input, each with ./ before it and NUL behind it: one a
    line, in their order, and `-` for a file that is not there."""

    workspace: str

    def line(self) -> str:
        return f"cd {shlex.quote(self.workspace)} && xargs -0 sh -c {shlex.quote(_HASH)} sh"


@dataclass(frozen=True, slots=True)
class ReadMarker:
    """Is the workspace there, and for which machine is its volume marked? `unmarked` where it is not."""

    workspace: str
    marker: str

    def line(self) -> str:
        return f"cd {shlex.quote(self.workspace)} && {{ cat {shlex.quote(self.marker)} 2>/dev/null || echo unmarked; }}"


@dataclass(frozen=True, slots=True)
class WriteMarker:
    folder: str
    machine: int
    marker: str

    def line(self) -> str:
        return f"mkdir -p {shlex.quote(self.folder)} && echo {self.machine} > {shlex.quote(self.marker)}"


@dataclass(frozen=True, slots=True)
class ShowAgentStatus:
    """The JSON that the agent wrote down on its own machine."""

    def line(self) -> str:
        return 'cat "$HOME/.failoverd/agent.json"'


@dataclass(frozen=True, slots=True)
class KeepAgent:
    """Lay down the agent's token and script, start it, and have every start of the container start it again.

    Idempotent: a second run replaces the agent. The customer's own onstart.sh is added to, not rewritten.
    """

    token: str
    script: str
    install: str
    """Run where the command `failoverd` is missing."""

    def line(self) -> str:
        return " && ".join(
            (
                f"mkdir -p {HOME} && umask 077",
                f"printf %s {shlex.quote(self.token)} > {HOME}/token",
                f"printf '%s\\n' {shlex.quote(self.script)} > {HOME}/agent.sh",
                f"{{ command -v failoverd >/dev/null 2>&1 || {self.install}; }}",
                '{ grep -qs failoverd/agent.sh "$HOME/onstart.sh" '
                f"|| echo '{ONSTART_LINE}' >> \"$HOME/onstart.sh\"; }}",
                AGENT_LINE,
            )
        )


@dataclass(frozen=True, slots=True)
class LaySnapshotOrder:
    """Where the workspace lies, and the order that comes over standard input: its secrets stand in no command line."""

    workspace: str

    def line(self) -> str:
        return (
            f"mkdir -p {HOME} && umask 077 && cat > {HOME}/snapshots.new"
            f" && printf %s {shlex.quote(self.workspace)} > {HOME}/snapshots.workspace"
            f" && mv {HOME}/snapshots.new {HOME}/snapshots.json"
        )


@dataclass(frozen=True, slots=True)
class StartServing:
    """Let the customer's keys in and the customer's onstart go, then start the agent: the instance becomes its machine."""

    onstart: str | None
    agent: str
    """The line of a KeepAgent."""
    keys: tuple[str, ...] = ()
    """Public keys that are let in from now on, each on one line."""

    def line(self) -> str:
        return f"{_let_in(self.keys)}{let_go(self.onstart)}; {self.agent}"


def _let_in(keys: tuple[str, ...]) -> str:
    if not keys:
        return ""
    named = " ".join(shlex.quote(key) for key in keys)
    known = '"$HOME/.ssh/authorized_keys"'
    add = f'grep -qsxF -- "$key" {known} || printf \'%s\\n\' "$key" >> {known}'
    return f'mkdir -p "$HOME/.ssh" && chmod 700 "$HOME/.ssh" && for key in {named}; do {add}; done; '


Line: TypeAlias = (
    ListGpus | CheckPlace | HashFiles | ReadMarker | WriteMarker | ShowAgentStatus | LaySnapshotOrder | StartServing
)

_CHECK_PLACE = re.compile(rf"mkdir -p {_WORD} && nvidia-smi .*")
_HASH_FILES = re.compile(rf"cd {_WORD} && xargs .*", re.DOTALL)
_READ_MARKER = re.compile(rf"cd {_WORD} && {{ cat {_WORD} .*")
_WRITE_MARKER = re.compile(rf"mkdir -p {_WORD} && echo (\d+) > {_WORD}")
_LAY_ORDER = re.compile(rf"mkdir -p {re.escape(HOME)} && umask 077 && cat > \S+ && printf %s {_WORD} > .*")
_KEEP_AGENT = re.compile(
    rf"mkdir -p .*?printf %s {_WORD} > .*?printf '%s\\n' {_WORD} > .*?2>&1 \|\| (.*); \}} && {{ grep .*", re.DOTALL
)
_START_SERVING = re.compile(r"(.*?(?:serve\"|; fi)); (mkdir -p \"\$HOME/\.failoverd\" && umask .*)", re.DOTALL)
_LET_IN = re.compile(r"mkdir -p \"\$HOME/\.ssh\" .*? for key in (.*?); do grep .*?; done; ", re.DOTALL)
_LET_GO = re.compile(rf".*? -c {_WORD} >> .*", re.DOTALL)


def read(text: str) -> Line:
    """The command that has this line. Raise UnknownLine."""
    found = _guess(text)
    if found is None or found.line() != text:
        raise UnknownLine(text)
    return found


def read_agent(text: str) -> KeepAgent:
    """Raise UnknownLine."""
    found = _KEEP_AGENT.fullmatch(text)
    keep = KeepAgent(_unquoted(found[1]), _unquoted(found[2]), found[3]) if found else None
    if keep is None or keep.line() != text:
        raise UnknownLine(text)
    return keep


def _guess(text: str) -> Line | None:
    if text == ListGpus().line():
        return ListGpus()
    if text == ShowAgentStatus().line():
        return ShowAgentStatus()
    if found := _CHECK_PLACE.fullmatch(text):
        return CheckPlace(_unquoted(found[1]))
    if found := _HASH_FILES.fullmatch(text):
        return HashFiles(_unquoted(found[1]))
    if found := _READ_MARKER.fullmatch(text):
        return ReadMarker(_unquoted(found[1]), _unquoted(found[2]))
    if found := _WRITE_MARKER.fullmatch(text):
        return WriteMarker(_unquoted(found[1]), int(found[2]), _unquoted(found[3]))
    if found := _LAY_ORDER.fullmatch(text):
        return LaySnapshotOrder(_unquoted(found[1]))
    if found := _START_SERVING.fullmatch(text):
        keys = _LET_IN.match(found[1])
        onstart = _LET_GO.fullmatch(found[1][keys.end() :] if keys else found[1])
        named = tuple(shlex.split(keys[1])) if keys else ()
        return StartServing(_unquoted(onstart[1]) if onstart else None, found[2], named)
    return None


def _unquoted(word: str) -> str:
    return shlex.split(word)[0]
