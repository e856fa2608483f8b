"""The simulation's tests say little: thousands of log lines of virtual time help nobody. Afterwards all speak again."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from daemon.simulate import QUIET, be_quiet


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in QUIET}
    be_quiet()
    yield
    structlog.reset_defaults()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
