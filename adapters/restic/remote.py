"""What a replacement is told over SSH: a job that restic does there in the background, and the question how far it is.

The job comes over standard input, secrets and all, so that no command line shows them; it leaves the SSH session, so that
no broken connection ends it. Its folder says what it did: `done`, `failed`, or a process that lives. Asking is starting:
who asks again after a cut, or after the job was killed, sets it going where it stood.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from machines.snapshots import Portion

_ASK = r"""
place="$HOME/.failoverd/restore/$1"; mkdir -p "$place" && cd "$place" || exit 70
umask 077; cat > job.new && mv job.new job || exit 70
pid=$(cat pid 2>/dev/null)
if [ -e done ]; then state=done
elif [ -n "$pid" ] && grep -qs job "/proc/$pid/cmdline"; then state=running
elif [ -e failed ]; then state=failed; mv failed failed.told
else
    [ -e began ] || date +%s > began
    setsid sh ./job "$2" > job.log 2>&1 < /dev/null & echo $! > pid; state=running
fi
written=0; restic=$(cat restic 2>/dev/null)
if [ $state = running ] && [ -n "$restic" ] && grep -qs restic "/proc/$restic/cmdline"; then
    written=$(sed -n 's/^wchar: //p' "/proc/$restic/io" 2>/dev/null)
fi
whole=$(cat whole 2>/dev/null || echo 0); upto=$(cat upto 2>/dev/null || echo $whole)
bytes=$((whole + ${written:-0})); [ $bytes -le $upto ] || bytes=$upto
echo "$state $bytes $(($(cat ended 2>/dev/null || date +%s) - $(cat began 2>/dev/null || date +%s))) $(cat phase 2>/dev/null || echo starting)"
[ $state = failed ] && tail -c 400 failed.told
exit 0
"""
_PRELUDE = r"""
# Runs one job of failoverd; everything here may be removed once the machine serves.
workspace=$1
fail() { { echo "$1"; tail -c 400 restic.log 2>/dev/null; } > failed.new; mv failed.new failed; exit 1; }
finish() { date +%s > ended; rm -rf cache; : > done; exit 0; }
one() {
    restic "$@" >> restic.log 2>&1 &
    echo $! > restic
    wait $!
}
: > restic.log
command -v restic > /dev/null 2>&1 || { echo installing > phase; ( INSTALL ) >> restic.log 2>&1 < /dev/null; }
command -v restic > /dev/null 2>&1 || fail "restic is missing, and could not be installed"
"""


class State(Enum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """What the folder of a job says."""

    state: State
    bytes_done: int
    seconds: int
    phase: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class AskJob:
    """Set the job going unless it runs or is done, and say how far it is."""

    job: str
    """A word: names the folder."""
    workspace: str

    def line(self) -> str:
        return f"sh -c {shlex.quote(_ASK)} sh {shlex.quote(self.job)} {shlex.quote(self.workspace)}"


_ANSWER = re.compile(r"(running|done|failed) (\d+) (-?\d+) (\w+)\n?(.*)", re.DOTALL)


def read_answer(text: str) -> Progress | None:
    """None where it is no answer of ours."""
    found = _ANSWER.fullmatch(text)
    if found is None:
        return None
    return Progress(State(found[1]), int(found[2]), max(0, int(found[3])), found[4], " ".join(found[5].split()))


_DENIALS = (
    "access denied",
    "accessdenied",
    "access key id",
    "accesskeyid",
    "signature we calculated",
    "signaturedoesnotmatch",
    "not entitled",
    "unauthorized",
    "the key '",
)
"""How stores over the S3 protocol say that they do not know the key, or let it in nowhere."""


def is_denial(words: str) -> bool:
    """Do restic's last words say that the store refused the key?"""
    return any(denial in words.lower() for denial in _DENIALS)


@dataclass(frozen=True, slots=True)
class Door:
    """How restic gets in to one repository."""

    repository: str
    password: str
    variables: Mapping[str, str]
    options: Sequence[str]

    def exports(self) -> str:
        named = {**self.variables, "RESTIC_REPOSITORY": self.repository, "RESTIC_PASSWORD": self.password}
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in named.items())

    @property
    def words(self) -> str:
        return shlex.join([*self.options, "--no-lock", "--cache-dir", "cache", "--quiet"])


def check_job(door: Door, install: str) -> bytes:
    """Fetch something small: whether there is a way to the store at all."""
    return _job(
        door, install, f"echo fetching > phase\none {door.words} cat config || fail 'nothing can be fetched'\nfinish\n"
    )


def restore_job(door: Door, install: str, snapshot: str, parts: Sequence[Portion], total: int) -> bytes:
    """The parts one after another, each of them in parallel within restic, then whatever no part names. A part that was
    done is not done again."""
    words = f'{door.words} restore {shlex.quote(snapshot)} --target "$workspace"'
    lines = ['mkdir -p "$workspace" || fail "the workspace cannot be made"', "echo restoring > phase"]
    whole = 0
    for number, part in enumerate(parts):
        includes = shlex.join([word for path in part.paths for word in ("--include", _pattern(path))])
        lines += [f"echo {whole + part.size} > upto"]
        lines += [f"[ -e part.{number} ] || one {words} {includes} || fail 'restic ended'"]
        whole += part.size
        lines += [f": > part.{number}; rm -f restic; echo {whole} > whole"]
    excludes = shlex.join([word for part in parts for path in part.paths for word in ("--exclude", _pattern(path))])
    lines += [f"echo {total} > upto"]
    lines += [f"one {words} {excludes} || fail 'restic ended'", f"rm -f restic; echo {total} > whole", "finish", ""]
    return _job(door, install, "\n".join(lines))


def _pattern(path: str) -> str:
    return re.sub(r"([\\*?\[\]])", r"\\\1", path)


def _job(door: Door, install: str, body: str) -> bytes:
    text = door.exports() + _PRELUDE.replace("INSTALL", install or ":") + body
    return text.encode("utf-8", "surrogateescape")
