"""Stored tokens in a transaction: by their digests alone."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import bindparam, insert, select, update

from adapters.sql.records import TokenRecord
from adapters.sql.rows import token_from, token_values
from adapters.sql.statements import AFTER_ALL, Statements
from adapters.sql.tables import TOKENS

_c = TOKENS.c
_NEW = insert(TOKENS)
_UNREVOKED = select(TOKENS).where(_c.revoked_at.is_(None)).order_by(_c.name)
_NEWEST = select(TOKENS).where(_c.number < bindparam("before")).order_by(_c.number.desc()).limit(bindparam("most"))
_BY_DIGEST = select(TOKENS).where(_c.digest == bindparam("wanted"))
_OF_NAME = update(TOKENS).where(_c.name == bindparam("wanted"), _c.revoked_at.is_(None))
_OF_DIGEST = update(TOKENS).where(_c.digest == bindparam("wanted"))


class TokenStatements(Statements):
    def insert_token(self, token: TokenRecord) -> bool:
        """False where a token of that name is not revoked."""
        return self._insert_new(_NEW, token_values(token))

    def unrevoked_tokens(self) -> list[TokenRecord]:
        """By name, those that have expired among them."""
        return [token_from(row) for row in self._connection.execute(_UNREVOKED)]

    def token_of(self, digest: str) -> TokenRecord | None:
        """A revoked one too."""
        row = self._connection.execute(_BY_DIGEST, {"wanted": digest}).one_or_none()
        return None if row is None else token_from(row)

    def tokens(self, before: int | None, limit: int) -> list[TokenRecord]:
        """The newest first, those before that number, revoked ones too."""
        wanted = {"most": limit, "before": AFTER_ALL if before is None else before}
        return [token_from(row) for row in self._connection.execute(_NEWEST, wanted)]

    def revoke_token(self, name: str, by: str, at: datetime) -> bool:
        """False where none of that name is left to be revoked."""
        values = {"wanted": name, "revoked_at": at, "revoked_by": by}
        return self._connection.execute(_OF_NAME, values).rowcount == 1

    def note_token_use(self, digests: Collection[str], at: datetime) -> None:
        for digest in digests:
            self._connection.execute(_OF_DIGEST, {"wanted": digest, "last_used_at": at})
