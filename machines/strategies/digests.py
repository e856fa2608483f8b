"""The digests of named files on an instance, exact whatever the names are: blanks, backslashes, newlines, any bytes.

Names go out over standard input, each ended by NUL, so their number overflows no command line. Digests come back one a
line in the same order, and no name does: how this or that sha256sum writes odd names down (GNU's escapes them, busybox's
does not, and has no -z) cannot matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from machines.errors import Refused
from machines.saga import StepContext
from machines.shell_lines import MISSING, HashFiles
from machines.strategies.serving import Place

_AT_ONCE = 8000
"""Names a command: its answer has 65 bytes for each, and a shell keeps a million."""
_TIMEOUT_S = 600.0
_ANSWER = re.compile(r"[0-9a-f]{64}|-")


async def digests(ctx: StepContext, place: Place, names: Sequence[str]) -> dict[str, str | None]:
    """Name below the workspace -> SHA-256 (hex); None for a file that is not there. Raise as Shell.run, and
    Refused("verify_failed") where the instance cannot hash."""
    found: dict[str, str | None] = {}
    for batch in _batches(names):
        answers = await _ask(ctx, place, batch)
        if len(answers) != len(batch) or any(_ANSWER.fullmatch(answer) is None for answer in answers):
            shown = next((answer for answer in answers if _ANSWER.fullmatch(answer) is None), "")[:80]
            why = f"hashing {len(batch)} files gave {len(answers)} answers {shown!r}: are xargs -0 and sha256sum there?"
            raise Refused("verify_failed", why)
        found |= {name: None if answer == MISSING else answer for name, answer in zip(batch, answers, strict=True)}
    return found


async def _ask(ctx: StepContext, place: Place, names: Sequence[str]) -> list[str]:
    command = HashFiles(ctx.machine.workspace_path).line()
    stdin = b"".join(b"./" + name.encode("utf-8", "surrogateescape") + b"\0" for name in names)
    result = await ctx.shell.run(place.ssh, command, place.host_key, timeout_s=_TIMEOUT_S, stdin=stdin)
    if result.exit_status != 0:
        raise Refused("verify_failed", f"hashing failed with status {result.exit_status}: {result.stderr[:200]}")
    return result.stdout.splitlines()


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]
