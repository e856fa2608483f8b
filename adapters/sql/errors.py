"""What can go wrong with the store, below machines.errors.FailoverdError.

FailoverdError
├── StoreUnavailable        the database did not answer, or was held too long; an outage, never an answer
│   └── StoreDamaged        it answers what cannot be read; an outage that only a person ends
└── SchemaUnknown           the database has a revision that this program does not know
"""

from __future__ import annotations

from machines.errors import FailoverdError


class StoreUnavailable(FailoverdError):
    """The transaction is not half done: it was rolled back. Only where the connection broke during the commit itself
    may it have happened; then the rows tell (compare-and-swap makes it safe to try again)."""


class StoreDamaged(StoreUnavailable):
    """Nothing is judged by what is stored, and nothing written, until somebody has mended it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the database is damaged: {what}")
        self.what = what


MEND_IT = (
    "stop failoverd, keep a copy of the database, and restore a backup or repair the copy "
    "(SQLite: sqlite3 damaged.db .recover | sqlite3 repaired.db); then hold what it says against the provider's own list"
)
"""What only a person can do about damage."""


class SchemaUnknown(FailoverdError):
    """A newer program has upgraded this database; this one must not write to it."""
