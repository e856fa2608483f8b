"""The simulation's tests say little: thousands of log lines of virtual time help nobody."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...
