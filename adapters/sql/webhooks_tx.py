"""Webhooks in a transaction: which letters came already, and the secrets that the provider showed once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select, update

from adapters.sql.statements import Statements
from adapters.sql.tables import WEBHOOK_EVENTS, WEBHOOKS

_e, _w = WEBHOOK_EVENTS.c, WEBHOOKS.c
_NEW_EVENT = insert(WEBHOOK_EVENTS)
_FORGET = delete(WEBHOOK_EVENTS).where(_e.received_at < bindparam("before"))
_SECRET = select(_w.secret).where(_w.url == bindparam("wanted"))
_NEW = insert(WEBHOOKS)
_CHANGE = update(WEBHOOKS).where(_w.url == bindparam("wanted"))


class WebhookStatements(Statements):
    def note_webhook_event(self, event_id: str, at: datetime, forget_before: datetime) -> bool:
        """False where the letter came before, to whichever replica; those from before that time are forgotten."""
        self._connection.execute(_FORGET, {"before": forget_before})
        return self._insert_new(_NEW_EVENT, {"event_id": event_id, "received_at": at})

    def webhook_secret(self, url: str) -> str | None:
        found: str | None = self._connection.execute(_SECRET, {"wanted": url}).scalar_one_or_none()
        return found

    def keep_webhook_secret(self, url: str, secret: str, at: datetime) -> None:
        values = {"secret": secret, "made_at": at}
        if self._connection.execute(_CHANGE, {**values, "wanted": url}).rowcount == 0:
            self._insert_new(_NEW, {"url": url, **values})
