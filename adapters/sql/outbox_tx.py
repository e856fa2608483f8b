"""The outbox in a transaction: messages that are durable with the change that they tell of, and sent after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, delete, func, insert, or_, select, text, update

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
_NEWEST_OLD = select(func.max(_c.id)).where(_c.topic == bindparam("of_topic"), _c.sent_at < bindparam("before"))
_FORGET = delete(OUTBOX).where(_c.sent_at < bindparam("before"), _c.id.not_in(bindparam("kept", expanding=True)))
_TOLD_BETWEEN = (
    select(OUTBOX)
    .where(
        _c.id > bindparam("after"),
        _c.id <= bindparam("up_to"),
        or_(_c.topic == bindparam("of_topic"), and_(_c.topic == bindparam("of_machines"), _c.value.is_(None))),
    )
    .order_by(_c.id)
    .limit(bindparam("most"))
)
_OLDEST_OF = select(_c.id, _c.sent_at).where(_c.topic == bindparam("of_topic")).order_by(_c.id).limit(1)
_IN_FLIGHT = text(
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
)


@dataclass(frozen=True, slots=True)
class Newest:
    """How far the outbox reaches, and which transactions may still add a lower id to it."""

    last: int
    oldest_running: int
    """No transaction before this number runs any more."""
    next_transaction: int
    """Whoever was given an id up to `last` has a number below this one."""

    @property
    def is_settled(self) -> bool:
        return self.oldest_running >= self.next_transaction


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

    def forget_sent(self, before: datetime, marking: str = "") -> int:
        """How many sent messages were removed. The last message stays, and the newest old one of the topic `marking`: who
        asks for what came after an id is told by them whether something is missing there."""
        marker = self._connection.execute(_NEWEST_OLD, {"of_topic": marking, "before": before}).scalar()
        kept = [self.last_message(), *([marker] if marker is not None else [])] if marking else []
        return self._connection.execute(_FORGET, {"before": before, "kept": kept}).rowcount

    def last_message(self) -> int:
        """The highest id given so far, of those that are still there; 0 where there is none."""
        last: int = self._connection.execute(_LAST).scalar_one()
        return last

    def keys_after(self, topic: str, after: int) -> list[tuple[int, bytes]]:
        """(id, key) of what was posted for the topic since, by any replica. Ids can become visible out of their order:
        whoever follows looks back some way."""
        rows = self._connection.execute(_KEYS_AFTER, {"after": after, "of_topic": topic})
        return [(row.id, row.key) for row in rows]

    def newest_message(self) -> Newest:
        """Read in this order: whoever holds an id below the last one had begun before the numbers are asked for."""
        last = self.last_message()
        if self._connection.dialect.name != "postgresql":
            return Newest(last, 0, 0)  # One writer at a time: what is visible is all that there is.
        oldest_running, next_transaction = self._connection.execute(_IN_FLIGHT).one()
        return Newest(last, oldest_running, next_transaction)

    def told_between(self, topic: str, machines: str, after: int, up_to: int, most: int) -> list[tuple[int, Message]]:
        """Of ids above `after`, up to `up_to`: what was posted for the topic, and the tombstones of the topic `machines`."""
        limits = {"after": after, "up_to": up_to, "of_topic": topic, "of_machines": machines, "most": most}
        return [(row.id, message_from(row)) for row in self._connection.execute(_TOLD_BETWEEN, limits)]

    def oldest_message_of(self, topic: str) -> tuple[int, datetime | None] | None:
        """(id, when it was sent) of the first one that is still there."""
        row = self._connection.execute(_OLDEST_OF, {"of_topic": topic}).one_or_none()
        return None if row is None else (row.id, row.sent_at)
