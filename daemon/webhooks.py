"""The provider's webhooks: each genuine letter makes us look once, and proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from adapters.vast import VastApi
from adapters.vast.webhooks import About, Letter, NotGenuine, ensure_webhook, read_letter
from daemon.credit import CreditWatch
from daemon.loop import Loop
from machines.errors import Refused, StepError
from machines.failover import Noticed
from machines.model import Source
from machines.ports import Clock
from machines.problems import Problem

log = structlog.get_logger(__name__)

ALERT = "vast-webhook"
_REMEMBERED = timedelta(days=2)
"""A letter is delivered again for hours; older ones are refused by their age."""
_LOOK_AGAIN_S = 3600.0


@dataclass(frozen=True, slots=True)
class WebhookPlace:
    """Where the provider sends letters to; `secret` where an operator made the webhook."""

    url: str | None = None
    secret: str | None = None


class WebhookDoor:
    """Takes letters at any replica; the one that does the fleet's jobs sees to it that there is a webhook."""

    def __init__(
        self,
        place: WebhookPlace,
        store: Store,
        loop: Loop,
        credit: CreditWatch,
        api: VastApi,
        clock: Clock,
        deployment: str,
    ) -> None:
        self._place = place
        self._store = store
        self._loop = loop
        self._credit = credit
        self._api = api
        self._clock = clock
        self._deployment = deployment
        self._next_look = float("-inf")

    async def receive(self, headers: Mapping[str, str], body: bytes) -> Letter | None:
        """The letter that was acted on; None for one that came before. Raise Problem (400, 401), StoreUnavailable."""
        now = self._clock.now()
        secrets = await self._secrets()
        if not secrets:
            remedy = "set vast.webhook_secret, or vast.webhook_url, for which one is made"
            raise Problem(401, "unauthorized", "no webhook is set up here: there is no secret to check with", remedy)
        try:
            letter = read_letter(headers, body, secrets, now)
        except NotGenuine as error:
            remedy = "send it as Vast does, signed with the secret of this webhook"
            raise Problem(401, "unauthorized", f"this is no letter of the provider's: {error}", remedy) from error
        except ValueError as error:
            raise Problem(
                400, "malformed", f"the letter cannot be understood: {error}", "send it as Vast does"
            ) from error
        if not await self._store.transact(lambda tx: tx.note_webhook_event(letter.event_id, now, now - _REMEMBERED)):
            log.info("webhook_repeated", webhook=letter.kind, event_id=letter.event_id)
            return None
        log.info("webhook_received", webhook=letter.kind, instance=letter.instance, event_id=letter.event_id)
        await self._act(letter)
        return letter

    async def _act(self, letter: Letter) -> None:
        """Lost in a crash, it was only a hint."""
        if letter.about is About.CREDIT:
            await self._credit.look()
        if letter.about is not About.INSTANCE or letter.instance is None:
            return
        instance = letter.instance
        machine = await self._store.transact(lambda tx: tx.machine_by_primary(instance))
        if machine is not None:
            self._loop.post(machine.id, Noticed(instance, Source.WEBHOOK, f"{letter.kind}: {letter.subject}"))

    async def _secrets(self) -> list[str]:
        found = [self._place.secret] if self._place.secret else []
        url = self._place.url
        kept = await self._store.transact(lambda tx: tx.webhook_secret(url)) if url else None
        return [*found, *([kept] if kept else [])]

    @property
    def is_wanted(self) -> bool:
        """Is there a webhook for us to make?"""
        return self._place.url is not None

    async def ensure(self) -> None:
        """Make the webhook where the account has none, and keep its secret; look again from time to time."""
        url = self._place.url
        if url is None or self._clock.monotonic() < self._next_look:
            return
        known = self._place.secret or await self._store.transact(lambda tx: tx.webhook_secret(url))
        try:
            secret = await ensure_webhook(self._api, url, f"failoverd {self._deployment}", known)
        except Refused as refused:
            await self._tell(f"no webhook to {url} could be made: {refused.why}; polling goes on without it")
            return
        except StepError as error:
            log.info("webhook_not_ensured", because=str(error))
            return
        now = self._clock.now()

        def keep(tx: Tx) -> None:
            tx.resolve_alert(ALERT, now)
            if secret != known:
                tx.keep_webhook_secret(url, secret, now)

        await self._store.transact(keep)
        self._next_look = self._clock.monotonic() + _LOOK_AGAIN_S
        log.info("webhook_ready", url=url, is_new=secret != known)

    async def _tell(self, text: str) -> None:
        now = self._clock.now()
        self._next_look = self._clock.monotonic() + _LOOK_AGAIN_S
        try:
            await self._store.transact(lambda tx: tx.raise_alert(ALERT, text, now))
        except StoreUnavailable as error:
            log.warning("alert_not_stored", key=ALERT, text=text, because=str(error))
