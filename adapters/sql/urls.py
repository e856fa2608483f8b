"""What a database URL may be, said before anything is opened."""

from __future__ import annotations

import os

from sqlalchemy import exc as sa_exc
from sqlalchemy import make_url

_DRIVERS = ("sqlite", "postgres", "postgresql", "postgresql+psycopg")


def wrong_url(url: str) -> str | None:
    """What is wrong with it, without a word of it, which may hold a password; None where it can be tried."""
    try:
        parsed = make_url(url)
    except (sa_exc.ArgumentError, ValueError):
        return "is no database URL"
    if parsed.drivername not in _DRIVERS:
        return "names a database that is not supported"
    return None


def without_secrets(url: str) -> str:
    """For people: the password is starred out, and a question, which may hold one too, is left out."""
    try:
        parsed = make_url(url)
    except (sa_exc.ArgumentError, ValueError):
        return "***"
    return parsed.set(query={}).render_as_string(hide_password=True)


def missing_file(url: str) -> str | None:
    """SQLite's file where it is not there yet: connecting would make it."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return parsed.database if is_file and not os.path.exists(parsed.database or "") else None
