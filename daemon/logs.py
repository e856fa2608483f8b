"""structlog: one line per change with its evidence; JSON for machines, a console for people."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import orjson
import structlog


def configure(form: Literal["json", "console"] = "console", level: str = "info") -> None:
    """Once per process. To stderr, so that stdout stays for answers."""
    threshold = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    for chatty in ("aiokafka", "httpx", "httpcore", "asyncssh", "apscheduler"):
        # Each says twenty times a second what we say once, with its effect.
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    if form == "json":
        structlog.configure(
            processors=[
                *shared,
                structlog.processors.dict_tracebacks,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
            cache_logger_on_first_use=True,
        )
        return
    structlog.configure(
        processors=[*shared, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _dumps(event: object, default: object = None, **_: object) -> bytes:
    return orjson.dumps(event, default=str)
