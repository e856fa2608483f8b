"""Writes docs/reference: `python -m tests.documents.generate`, or `make docs`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.documents import api, cli, errors, metrics, settings, states, topics

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
SERVED = Path(__file__).parents[2] / "daemon" / "api" / "errors.html"
"""What the daemon serves of it."""
HEAD = "<!-- Written by `make docs` from the code; what is changed by hand is lost. -->\n\n"

PAGES: Mapping[str, Callable[[], Awaitable[str]]] = {
    "cli.md": cli.page,
    "api.md": api.page,
    "topics.md": topics.page,
    "metrics.md": metrics.page,
    "errors.md": errors.page,
    "settings.md": settings.page,
    "states.md": states.page,
}


async def text(name: str) -> str:
    """What the page must say."""
    return HEAD + (await PAGES[name]()).rstrip() + "\n"


async def _write() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        (FOLDER / name).write_text(await text(name), encoding="utf-8")
        print(f"docs/reference/{name}")
    SERVED.write_text(errors.as_html(), encoding="utf-8")
    print("daemon/api/errors.html")


if __name__ == "__main__":
    asyncio.run(_write())
