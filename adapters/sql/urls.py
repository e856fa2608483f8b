"""What a database URL may be, said before anything is opened."""

from __future__ import annotations

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
