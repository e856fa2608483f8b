"""What can go wrong with the store, below machines.errors.FailoverdError.

FailoverdError
├── StoreUnavailable        the database did not answer, or was held too long; an outage, never an answer
└── SchemaUnknown           the database has a revision that this program does not know
"""

from __future__ import annotations

from machines.errors import FailoverdError


class StoreUnavailable(FailoverdError):
    """The transaction is not half done: it was rolled back. Only where the connection broke during the commit itself
    may it have happened; then the rows tell (compare-and-swap makes it safe to try again)."""


class SchemaUnknown(FailoverdError):
    """A newer program has upgraded this database; this one must not write to it."""
