"""The stored tokens as the doors ask for them: from memory, and read again at most once a second.

While the store is out, a token that was known when it last answered stays known for `OUTAGE_S`, and not longer; a token that
was not known then may have been made since, so nobody can say that it is unknown. What is revoked here is forgotten at once;
what another replica revokes, within a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.records import AuditRecord, TokenRecord
from adapters.sql.tx import Tx
from machines.access import Scope
from machines.model import MachineId
from machines.ports import Clock, Random
from machines.problems import Problem, unknown_machine

log = structlog.get_logger(__name__)

PREFIX = "ft_"
OUTAGE_S = 300.0
"""Real seconds."""
_FRESH_S = 1.0
_PATIENCE_S, _FIRST_PATIENCE_S = 1.0, 10.0
"""For the store's answer, where there is an older one and where there is none; real seconds."""
_AFTER_FAILURE_S = 2.0
_USE_NOTED_EVERY = timedelta(minutes=5)
_MOST = 1000
_SECRET_LENGTH = 43
"""Five bits in each letter."""


class TokenBook:
    """Makes, revokes and recognises stored tokens."""

    def __init__(self, store: Store, clock: Clock, random: Random) -> None:
        self._store, self._clock, self._random = store, clock, random
        self._known: dict[str, TokenRecord] = {}
        """By digest, as last read; those that are not revoked."""
        self._read_at: float | None = None
        self._not_before = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._used: set[str] = set()

    async def bearer(self, secret: str) -> TokenRecord | None:
        """The token with this secret; None for one that is unknown, revoked or expired, which all take the same way.

        Raise StoreUnavailable where that cannot be known.
        """
        digest = digest_of(secret)
        await self._freshen()
        found = self._known.get(digest)
        if found is None or not hmac.compare_digest(found.digest, digest):
            if not self._is_younger_than(_FRESH_S):
                raise StoreUnavailable("the store does not answer, so nobody can say whether the token is known")
            return None
        if not self._is_younger_than(OUTAGE_S):
            raise StoreUnavailable(f"the store has not answered for {OUTAGE_S:.0f} s: the token may have been revoked")
        if not found.opens_at(self._clock.now()):
            return None
        self._used.add(digest)
        return found

    async def create(
        self,
        name: str,
        scope: Scope,
        machine: MachineId | None,
        expires_at: datetime | None,
        audit: AuditRecord,
        secret: str | None = None,
    ) -> tuple[TokenRecord, str]:
        """The token and its secret, which is kept nowhere; with the scope `beat` it is bound to the machine.

        `secret`: what `keyed` gave for the request's key: the request may be repeated, and then comes to the same token.
        Raise Problem (404, 409, 422), StoreUnavailable.
        """
        secret = secret or PREFIX + self._random.token(_SECRET_LENGTH)
        token = TokenRecord(name, digest_of(secret), scope, audit.at, audit.asked_by, machine, expires_at)

        def work(tx: Tx) -> TokenRecord:
            made = tx.token_of(token.digest)
            if made is not None:
                _refuse_another(made, token)
                return made
            if machine is not None and tx.machine(machine) is None:
                raise unknown_machine(machine)
            unrevoked = tx.unrevoked_tokens()
            if sum(one.opens_at(audit.at) for one in unrevoked) >= _MOST:
                detail = f"there are {_MOST} valid tokens"
                raise Problem(409, "too_many_tokens", detail, "revoke those that nobody uses")
            if any(one.name == name and not one.opens_at(audit.at) for one in unrevoked):
                tx.revoke_token(name, audit.asked_by, audit.at)  # An expired one keeps its name from nobody.
            if not tx.insert_token(token):
                remedy = f"take another name, or first: failoverd token revoke {name}"
                raise Problem(409, "token_exists", f"there is a token called {name}", remedy, {"name": name})
            tx.audit(audit)
            return token

        made = await self._store.transact(work)
        self._known[made.digest] = made
        return made, secret

    async def revoke(self, name: str, audit: AuditRecord) -> None:
        """Raise Problem (404), StoreUnavailable."""

        def work(tx: Tx) -> None:
            if not tx.revoke_token(name, audit.asked_by, audit.at):
                detail = f"there is no token called {name} that could be revoked"
                raise Problem(404, "unknown_token", detail, "GET /api/v1/tokens lists them", {"name": name})
            tx.audit(audit)

        await self._store.transact(work)
        self._known = {digest: token for digest, token in self._known.items() if token.name != name}

    async def newest(self, before: int | None, limit: int) -> Sequence[TokenRecord]:
        """Those before that number, revoked ones too. Raise StoreUnavailable."""
        return await self._store.transact(lambda tx: tx.tokens(before, limit))

    # -- reading

    def _is_younger_than(self, real_s: float) -> bool:
        return self._read_at is not None and self._clock.monotonic() - self._read_at <= self._clock.real(real_s)

    async def _freshen(self) -> None:
        """Where what we know is old, ask the store; all who ask meanwhile wait for one answer, and none for long."""
        if self._is_younger_than(_FRESH_S) or self._clock.monotonic() < self._not_before:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="tokens")
        patience_s = _FIRST_PATIENCE_S if self._read_at is None else _PATIENCE_S
        try:
            await self._clock.wait_for(asyncio.shield(self._reading), self._clock.real(patience_s))
        except TimeoutError:
            log.debug("tokens_not_read", because="the store takes its time")

    async def _read(self) -> None:
        """Never raises an outage: how old our knowledge is tells of it."""
        began = self._clock.monotonic()
        try:
            rows = await self._store.transact(lambda tx: tx.unrevoked_tokens())
            self._known = {row.digest: row for row in rows}
            self._read_at = began
            await self._note_use()
        except StoreUnavailable as error:
            self._not_before = self._clock.monotonic() + self._clock.real(_AFTER_FAILURE_S)
            log.debug("tokens_not_read", because=str(error))
        finally:
            self._reading = None

    async def _note_use(self) -> None:
        """No write for each request: once in five minutes for each token in use."""
        now = self._clock.now()
        used = [
            digest
            for digest in self._used & self._known.keys()
            if (last := self._known[digest].last_used_at) is None or now - last >= _USE_NOTED_EVERY
        ]
        self._used.clear()
        if not used:
            return
        await self._store.transact(lambda tx: tx.note_token_use(used, now))
        for digest in used:
            if digest in self._known:
                self._known[digest] = replace(self._known[digest], last_used_at=now)


def keyed(admin_secret: str, key: str) -> str:
    """A secret that follows from the request's key, for whoever has the deployment's own secret, and for nobody else."""
    return (
        PREFIX + hmac.new(admin_secret.encode(), f"token:{key}".encode(), hashlib.sha256).hexdigest()[:_SECRET_LENGTH]
    )


def _refuse_another(made: TokenRecord, asked: TokenRecord) -> None:
    """Raise Problem (409, 422) where the key's token is not the one that is asked for."""
    if made.revoked_at is not None:
        detail = f"the token that was made under this Idempotency-Key, {made.name}, was revoked"
        raise Problem(409, "token_exists", detail, "send another key", {"name": made.name})
    if _terms(made) != _terms(asked):
        detail = f"under this Idempotency-Key another token was made: {made.name}"
        remedy = "send a new key for a new request"
        raise Problem(422, "idempotency_key_reused", detail, remedy, {"name": made.name})


def _terms(token: TokenRecord) -> tuple[object, ...]:
    lasts = None if token.expires_at is None else token.expires_at - token.created_at
    return token.name, token.scope, token.machine_id, lasts


def digest_of(secret: str) -> str:
    """SHA-256 is right for a secret of this length: nobody guesses it, so nothing must be slow."""
    return hashlib.sha256(secret.encode()).hexdigest()
