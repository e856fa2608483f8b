"""structlog: one line per change with its evidence; JSON for machines, a console for people.

What is logged is bounded and bears no secret: a traceback is plain text of a limited length, without the values of local
variables, and whatever looks like a token is blotted out before it is written.
"""

from __future__ import annotations

import logging
import re
import sys
from types import TracebackType
from typing import Any, BinaryIO, Literal

import orjson
import structlog

_CHATTY = ("aiokafka", "httpx", "httpcore", "asyncssh", "apscheduler")
"""Each says twenty times a second what we say once, with its effect."""
_MOST_OF_A_TRACEBACK = 8000
"""Characters; the beginning and the end are kept."""
_TOKEN = re.compile(r"(?i:\b(bearer)\s+)[^\s'\",;)}\]]+|\b(f[abt]_)[0-9A-Za-z_-]{8,}")
"""What an Authorization header holds, and every token that we make (daemon/api/auth.py, daemon/tokens.py)."""


def configure(form: Literal["json", "console"] = "console", level: str = "info") -> None:
    """Once per process. To stderr, so that stdout stays for answers."""
    set_level(level)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    _bind_libraries()
    if form == "json":
        write_json(sys.stderr.buffer, logging.DEBUG)
        return
    renderer = structlog.dev.ConsoleRenderer(
        # rich would be asked otherwise, and shows the locals of every frame: headers, bodies, tokens.
        colors=sys.stderr.isatty(),
        exception_formatter=structlog.dev.plain_traceback,
    )
    structlog.configure(
        processors=[*_processors(), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def set_level(level: str) -> None:
    """From now on nothing below it is written, by loggers that have been used already too."""
    _GATE.threshold = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)


class _Gate:
    """The first processor: loggers keep what they were first configured with, so the level is asked at every line."""

    def __init__(self) -> None:
        self.threshold = logging.NOTSET

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if _LEVELS.get(method, logging.ERROR) < self.threshold:
            raise structlog.DropEvent
        return event


_GATE = _Gate()
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "warn": logging.WARNING}


def write_json(file: BinaryIO, threshold: int) -> None:
    """Our own lines as JSON into a file that is open; the libraries' lines are not touched."""
    structlog.configure(
        processors=[*_processors(), structlog.processors.JSONRenderer(serializer=_dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(file=file),
        cache_logger_on_first_use=True,
    )


def write_libraries(path: str) -> None:
    """The libraries' warnings into a file of their own."""
    logging.basicConfig(level=logging.WARNING, filename=path, force=True)
    _bind_libraries()


def _bind_libraries() -> None:
    """What libraries log goes by the same rules: bounded tracebacks, no tokens."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_LibraryLines("%(levelname)s %(name)s %(message)s"))
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def _processors() -> list[structlog.typing.Processor]:
    return [
        _GATE,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _clean,
    ]


def _clean(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The last step before a line is rendered."""
    if isinstance(event.get("exception"), str):
        event["exception"] = _cut(event["exception"])
    return {name: _blotted(value) for name, value in event.items()}


def _blotted(value: Any) -> Any:
    match value:
        case str():
            return without_tokens(value)
        case BaseException():
            return without_tokens(repr(value))
        case list() | tuple():
            return [_blotted(one) for one in value]
        case dict():
            return {name: _blotted(one) for name, one in value.items()}
        case _:
            return value


def without_tokens(text: str) -> str:
    """The text with every token in it replaced by an ellipsis."""
    return _TOKEN.sub(lambda found: f"{found[1]} …" if found[1] else f"{found[2]}…", text)


def _cut(traceback: str) -> str:
    if len(traceback) <= _MOST_OF_A_TRACEBACK:
        return traceback
    half = _MOST_OF_A_TRACEBACK // 2
    left_out = len(traceback) - 2 * half
    return f"{traceback[:half]}\n  [{left_out} characters left out]\n{traceback[-half:]}"


class _LibraryLines(logging.Formatter):
    def formatException(  # noqa: N802 - logging's own name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return _cut(super().formatException(ei))

    def format(self, record: logging.LogRecord) -> str:
        return without_tokens(super().format(record))


def _dumps(event: object, default: object = None, **_: object) -> bytes:
    return orjson.dumps(event, default=str)
