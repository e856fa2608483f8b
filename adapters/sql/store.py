"""The store on a database, synchronous: transactions that happen as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import Connection, insert

from adapters.sql.engine import DATABASE_ERRORS, is_in_memory, make_engine, named
from adapters.sql.errors import StoreDamaged, StoreUnavailable
from adapters.sql.tables import METADATA, PAUSES, THE_ONE
from adapters.sql.tx import Tx

T = TypeVar("T")


class SqlStore:
    """`url` as SQLAlchemy understands it: `sqlite:////path/to/file`, `postgresql://user@host/database`.

    The schema is there already (`adapters.sql.migration.upgrade`).
    """

    def __init__(self, url: str, wait_s: float = 5.0) -> None:
        """`wait_s` bounds the wait for another writer; then the transaction raises StoreUnavailable."""
        self._engine = make_engine(url, wait_s)
        self._only = self._engine.connect() if is_in_memory(url) else None
        """A database in memory has one connection; taking it from the pool each time costs as much as a statement."""
        self.is_shared = self._engine.dialect.name != "sqlite"
        """A server that other replicas may use too; a file is one daemon's."""
        self._damage: StoreDamaged | None = None
        """Of our file: once a page of it could not be read, nothing of it is believed any more."""

    @classmethod
    def in_memory(cls) -> SqlStore:
        """An empty store that lives as long as this object, with its schema: for simulations.

        Made from the tables and not by migrations; a test holds the two together.
        """
        store = cls("sqlite://")
        with store._engine.begin() as connection:
            METADATA.create_all(connection)
            connection.execute(insert(PAUSES), {"one": THE_ONE})
        return store

    @contextmanager
    def transaction(self) -> Iterator[Tx]:
        """Commit at the end, roll back on any error. Raise StoreUnavailable where the database does not answer."""
        self._refuse_damage()
        try:
            with self._connected() as connection, connection.begin():
                tx = Tx(connection)
                yield tx
                tx.settle()
        except DATABASE_ERRORS as error:
            outage = self._named(error)
            if outage is None:
                raise
            raise outage from error

    def transact(self, work: Callable[[Tx], T]) -> T:
        """Run the work in one transaction."""
        self._refuse_damage()
        try:
            with self._connected() as connection, connection.begin():
                tx = Tx(connection)
                result = work(tx)
                tx.settle()
                return result
        except DATABASE_ERRORS as error:
            outage = self._named(error)
            if outage is None:
                raise
            raise outage from error

    def _refuse_damage(self) -> None:
        if self._damage is not None:
            raise StoreDamaged(self._damage.what)

    def _named(self, error: Exception) -> StoreUnavailable | None:
        outage = named(error)
        if isinstance(outage, StoreDamaged) and not self.is_shared:
            self._damage = outage
        return outage

    def driver(self) -> Any:
        """The driver's connection of a store in memory: for an observer that reads beside the transactions."""
        with self._connected() as connection:
            return connection.connection.driver_connection

    def close(self) -> None:
        if self._only is not None:
            self._only.close()
        self._engine.dispose()

    def _connected(self) -> AbstractContextManager[Connection]:
        return self._engine.connect() if self._only is None else nullcontext(self._only)
