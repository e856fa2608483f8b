"""The HTTP door: the contract's routes, their errors and their tokens."""

from __future__ import annotations

from daemon.api.app import create_app
from daemon.api.auth import beat_token
from daemon.api.server import ApiServer
from daemon.api.services import Check, Health, ReadinessSource, Services

__all__ = ["ApiServer", "Check", "Health", "ReadinessSource", "Services", "beat_token", "create_app"]
