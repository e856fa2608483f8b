"""What reaches the log: never a secret, never the values of variables, never without end."""

from __future__ import annotations

import subprocess
import sys

import pytest

TOKEN = "fa_0123456789abcdefghij"
SECRET = "hunter2-in-a-local-variable"

CRASH = f"""
import logging, sys, structlog
from daemon import logs
logs.configure({{form!r}}, "debug")
log = structlog.get_logger("test")

def handle(headers, deep):
    password = {SECRET!r}
    if deep:
        return handle(headers, deep - 1) + len(password)
    raise ValueError("illegal header value b'Bearer {TOKEN}'" + "x" * 30_000)

try:
    handle({{{{"authorization": "Bearer {TOKEN}"}}}}, 60)
except ValueError as error:
    log.error("request_crashed", path="/x", exc_info=error)
    log.warning("refused", error="the provider said no to Bearer {TOKEN}, and to fb_7_{"0" * 40} and ft_{"0" * 43}")
    log.warning("refused", error=error.__class__("Bearer {TOKEN}"), headers=[{{{{"authorization": "Bearer {TOKEN}"}}}}])
    logging.getLogger("uvicorn.error").error("crashed with Bearer {TOKEN}", exc_info=error)
"""


@pytest.fixture(scope="module", params=["console", "json"])
def written(request: pytest.FixtureRequest) -> str:
    """All that a process writes whose request crashed with secrets in its frames."""
    script = CRASH.format(form=request.param)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stderr


def test_a_crash_is_told_with_its_traceback(written: str) -> None:
    assert "request_crashed" in written
    assert "illegal header value" in written
    assert "in handle" in written


def test_no_traceback_shows_the_values_of_variables(written: str) -> None:
    assert SECRET not in written


def test_no_token_reaches_the_log(written: str) -> None:
    assert TOKEN not in written
    assert "0" * 40 not in written
    assert "Bearer …" in written


def test_a_traceback_has_a_bounded_size(written: str) -> None:
    assert len(written) < 20_000
    assert "characters left out" in written
