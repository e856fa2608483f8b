"""The README's ```console blocks: the commands that a reader types, which are run as they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass

NEEDS_ACCOUNT = "<!-- real account -->"
"""Stands before a block whose commands need a real provider or a real host: they are parsed, and not run."""


@dataclass(frozen=True, slots=True)
class Block:
    commands: tuple[str, ...]
    """The lines after the prompt, in their order."""
    can_run: bool


def blocks(text: str) -> tuple[Block, ...]:
    found = re.finditer(r"(?P<before>[^\n]*)\n```console\n(?P<lines>.*?)```", text, re.DOTALL)
    return tuple(
        Block(
            tuple(line.removeprefix("$ ") for line in one["lines"].splitlines() if line.startswith("$ ")),
            one["before"] != NEEDS_ACCOUNT,
        )
        for one in found
    )
