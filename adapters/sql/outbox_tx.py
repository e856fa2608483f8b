"""The outbox in a transaction: messages that are durable with the change that they tell of, and sent after it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, select, update

from adapters.sql.rows import message_from, message_values
from adapters.sql.statements import Statements
from adapters.sql.tables import OUTBOX
from events.topics import Message

_c = OUTBOX.c
_INSERT = insert(OUTBOX)
_UNSENT = select(OUTBOX).where(_c.sent_at.is_(None)).order_by(_c.id).limit(bindparam("most"))
_KEYS_AFTER = (
    select(_c.id, _c.key)
    .where(_c.id > bindparam("after"), _c.topic == bindparam("of_topic"), _c.key.is_not(None))
    .order_by(_c.id)
)
_LAST = select(func.coalesce(func.max(_c.id), 0))
_SENT = update(OUTBOX).where(_c.id.in_(bindparam("wanted", expanding=True)))
_FORGET = delete(OUTBOX).where(_c.sent_at < bindparam("before"))


class OutboxStatements(Statements):
    def post(self, messages: Sequence[Message]) -> None:
        """In this order. Post after `save_machine`: its row lock is what orders the messages of one machine between
        replicas, because PostgreSQL gives ids before the commit."""
        if messages:
            self._connection.execute(_INSERT, [message_values(message) for message in messages])

    def unsent(self, limit: int) -> list[tuple[int, Message]]:
        """The oldest first, each with its id."""
        return [(row.id, message_from(row)) for row in self._connection.execute(_UNSENT, {"most": limit})]

    def mark_sent(self, ids: Sequence[int], at: datetime) -> None:
        """The log has them. A crash before this sends them again: consumers drop what they know by version or id."""
        if ids:
            self._connection.execute(_SENT, {"wanted": list(ids), "sent_at": at})

    def forget_sent(self, before: datetime) -> int:
        """How many sent messages were removed."""
        return self._connection.execute(_FORGET, {"before": before}).rowcount

    def last_message(self) -> int:
        """The highest id given so far, of those that are still there; 0 where there is none."""
        last: int = self._connection.execute(_LAST).scalar_one()
        return last

    def keys_after(self, topic: str, after: int) -> list[tuple[int, bytes]]:
        """(id, key) of what was posted for the topic since, by any replica. Ids can become visible out of their order:
        whoever follows looks back some way."""
        rows = self._connection.execute(_KEYS_AFTER, {"after": after, "of_topic": topic})
        return [(row.id, row.key) for row in rows]
