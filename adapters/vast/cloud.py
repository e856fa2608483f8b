"""VastCloud: the port GpuCloud over Vast.ai's REST API (facts/vast-api.md).

Two questions decide about money here: was a rental created although no answer came, and is one really gone although
nothing shows it? Both are answered only by a complete listing that began after the provider's lag, and by an empty one
only while the account still answers our key and pays for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import copy
from datetime import datetime, timedelta

from adapters.vast.account import (
    Account,
    attach_ssh_key,
    ensure_ssh_key,
    pays_for_rentals,
    read_account,
    read_spend_rate,
)
from adapters.vast.client import VastApi
from adapters.vast.creates import Creates
from adapters.vast.listing import SharedListing
from adapters.vast.logs import read_logs
from adapters.vast.offers import search_offers
from adapters.vast.rental import contract_in, create_body, refusal, why_not_created
from adapters.vast.replies import Kind, Reply
from adapters.vast.rows import BadRow, instance_from
from adapters.vast.settings import CHANGE, CREATE, DESTROY, LIST, REBOOT, SHOW, VastSettings
from adapters.vast.taken import Taken
from machines.errors import NotYet, Refused, StepError, Unknown
from machines.model import Claim, HostId, Instance, InstanceId, Label, Listing, Offer, OfferQuery
from machines.ports import Clock


class VastCloud:
    """The adapter of the port GpuCloud. `label_prefix` begins every label of this deployment; others are not touched."""

    def __init__(
        self, api: VastApi, clock: Clock, label_prefix: str, settings: VastSettings, public_key: str = ""
    ) -> None:
        """`public_key` is what new rentals get through the account, and older ones by `attach_key`."""
        if not label_prefix:
            raise ValueError("without a label prefix every rental of the account would count as ours")
        self._clock = clock
        self._label_prefix = label_prefix
        self._public_key = public_key
        self._settings = settings
        self._api = api
        self._listing = SharedListing(self._api, clock, settings, label_prefix)
        self._creates = Creates(clock)
        self._taken = Taken(clock)

    def on_behalf_of(self, may_send: Callable[[], None]) -> VastCloud:
        """The same cloud, for an actor whose leave may lapse while a call waits for its turn. The shared listing stays
        everybody's."""
        view = copy(self)
        view._api = self._api.on_behalf_of(may_send)
        return view

    async def search(self, query: OfferQuery, host: HostId | None = None) -> tuple[Offer, ...]:
        """Offers that fulfil every condition, cheapest first; with `host`, also where this account already rents, and what
        was asked for before: there may be no other."""
        found = await search_offers(self._api, self._settings, query, host)
        return tuple(offer for offer in found if host is not None or offer.id not in self._taken)

    async def rent(self, claim: Claim) -> InstanceId:
        """One create per label. Raise Refused("no_offer_matches") where the offer is gone, with `leaves_rental` where
        what was rented is still to be destroyed for certain; NotYet where nothing was sent, Unknown where a rental may
        exist: adopt or abandon."""
        label = claim.label
        self._check_own(label)
        if label in self._creates:
            raise Unknown(f"a create under {label} was already sent: adopt or abandon it")
        offer = claim.offer.id
        if not self._taken.take(offer, label) and claim.volume is None:
            raise Refused("no_offer_matches", f"offer {offer} was asked for already, for another claim of ours")
        self._creates.note(label)
        try:
            reply = await self._api.call(CREATE, offer, create_body(claim))
        except NotYet:
            self._creates.forget(label)
            self._taken.give_back(label)
            raise
        except BaseException:
            self._creates.note(label)  # Until now it may have had its effect.
            raise
        try:
            return await self._rental_in(reply, label)
        except Refused as refused:
            if refused.code != "no_offer_matches":
                self._taken.give_back(label)
            raise

    async def adopt(self, claim: Claim) -> InstanceId | None:
        """The rental under the claim's label (the oldest, should there be several); see `destroy` for what None needs."""
        self._check_own(claim.label)
        listing = await self._listing.read_label(claim.label)
        found = listing.with_label(claim.label)
        if found:
            return min(instance.id for instance in found)
        await self._settle_absence(f"no rental under {claim.label}", listing, self._created_at(claim))
        self._taken.give_back(claim.label)
        return None

    async def show(self, instance: InstanceId) -> Instance | None:
        """None where the provider says that there is no such rental, and our key is alive."""
        reply = await self._api.call(SHOW, instance, query={"owner": "me"})
        if reply.kind is Kind.GONE:
            await self.account()
            return None
        if reply.kind is not Kind.OK or "instances" not in reply.fields:
            raise Unknown(f"instance {instance} was not shown: {reply}")
        row = reply.fields["instances"]
        if row is None:
            return None
        try:
            return instance_from(row)
        except BadRow as error:
            raise Unknown(f"instance {instance} was shown in a form that we cannot read: {error}") from error

    async def look(self, instance: InstanceId) -> Instance | None:
        """By the single read or by the shared listing, whichever may be asked sooner."""
        if self._api.wait_s(SHOW) < self._api.wait_s(LIST):
            return await self.show(instance)
        return (await self.list(about=(instance,))).instances.get(instance) or await self.show(instance)

    async def list(self, max_age_s: float = 0.0, about: Collection[InstanceId] | None = None) -> Listing:
        """All rentals of the account; `complete` by the provider's own counts. With `about` it may hold only these, and
        some others that show that the list is alive."""
        if about is None:
            return await self._listing.read(max_age_s)
        return await self._listing.read_about(about, max_age_s)

    async def start(self, instance: InstanceId) -> None:
        """Raise Refused("standby_gpu_taken") where the GPU is not free: the start that the provider then keeps queued,
        and would bill hours later, is cancelled first (facts/vast-api.md, 9.3)."""
        reply = await self._api.call(CHANGE, instance, {"state": "running"})
        if reply.kind is Kind.QUEUED:
            await self.stop(instance)
            raise Refused("standby_gpu_taken", f"instance {instance}: {reply}")
        await self._expect_done(reply, instance, wants_running=True)

    async def stop(self, instance: InstanceId) -> None:
        """Accepted by the provider, or the rental is provably gone."""
        reply = await self._api.call(CHANGE, instance, {"state": "stopped"})
        if reply.kind is Kind.GONE:
            await self._settle_gone(instance, was_accepted=False)
        else:
            await self._expect_done(reply, instance, wants_running=False)

    async def reboot(self, instance: InstanceId) -> None:
        """Stop-then-start of the container; the GPU is kept. Not repeated where the answer was lost."""
        _expect_ok(await self._api.call(REBOOT, instance, {}))

    async def logs(self, instance: InstanceId, lines: int, of_daemon: bool = False) -> str:
        return await read_logs(self._api, self._clock, instance, lines, of_daemon)

    async def attach_key(self, instance: InstanceId) -> None:
        await attach_ssh_key(self._api, instance, self._public_key)

    async def label(self, instance: InstanceId, label: Label) -> None:
        _expect_ok(await self._api.call(CHANGE, instance, {"label": label}))

    async def destroy(self, target: Claim | InstanceId) -> None:
        """End the rental and its bill; success means that a listing proved it, NotYet that it was not yet proved.

        What "not there" is worth: the listing must be complete, must have begun after the lag, and where it shows no
        rental at all the account must answer our key and pay for none.
        """
        if isinstance(target, Claim):
            await self._destroy_claim(target)
        else:
            reply = await self._delete(target)
            await self._settle_gone(target, was_accepted=reply.kind is Kind.OK)

    async def _expect_done(self, reply: Reply, instance: InstanceId, wants_running: bool) -> None:
        """A no to what is so already is a yes: a call before this one had its effect, or somebody else was there."""
        if reply.kind is Kind.OK:
            return
        shown = await self.show(instance) if reply.kind is Kind.REFUSED else None
        if shown is None or shown.wants_running is not wants_running or (wants_running and not shown.holds_gpu):
            raise refusal(reply)

    async def account(self) -> Account:
        """Raise KeyDead where the key is dead, Unknown where nothing can be said."""
        return await read_account(self._api)

    async def credit(self) -> float | None:
        """Of the port Purse."""
        return (await self.account()).credit

    async def spend_rate(self) -> float:
        """Of the port Purse."""
        return await read_spend_rate(self._api)

    async def ensure_ssh_key(self, public_key: str) -> None:
        await ensure_ssh_key(self._api, public_key)

    async def _rental_in(self, reply: Reply, label: Label) -> InstanceId:
        contract = contract_in(reply)
        self._creates.note(label, contract)
        if contract is None:
            error = why_not_created(reply)
            if isinstance(error, Refused):
                self._creates.forget(label)
            raise error
        if reply.kind is Kind.OK:
            return contract
        try:
            await self._delete(contract)
        except StepError as error:
            raise Unknown(f"rental {contract} came into being stopped and could not be destroyed: {error}") from error
        raise Refused(
            "no_offer_matches", f"rental {contract} came up stopped, its end was accepted: {reply}", leaves_rental=True
        )

    async def _destroy_claim(self, claim: Claim) -> None:
        self._check_own(claim.label)
        listing = await self._listing.read_label(claim.label)
        named = self._creates.contract(claim.label)
        found = {instance.id for instance in listing.with_label(claim.label)} | (
            {named} if named is not None else set()
        )
        if found:
            failures = [failure for instance in sorted(found) if (failure := await self._failure_to_delete(instance))]
            if failures:
                raise failures[0]
            listing = await self._listing.read_label(claim.label)
        if still := listing.with_label(claim.label):
            raise NotYet(f"rental {still[0].id} is still listed", self._look_again())
        await self._settle_absence(f"no rental under {claim.label}", listing, self._created_at(claim))
        self._creates.settled(claim.label)
        self._taken.give_back(claim.label)

    async def _failure_to_delete(self, instance: InstanceId) -> StepError | None:
        """So that one rental's failure leaves no other one undestroyed."""
        try:
            await self._delete(instance)
        except StepError as failure:
            return failure
        return None

    async def _delete(self, instance: InstanceId) -> Reply:
        """The bare call: accepted, or "not there" (which proves nothing yet)."""
        reply = await self._api.call(DESTROY, instance, {})
        says_absent = reply.kind is Kind.GONE or reply.error == "not_found" or "invalid instance_id" in reply.message
        if reply.kind is Kind.OK or says_absent:
            return reply
        # A no may be the answer to a second call after the first had its effect.
        if reply.kind is not Kind.REFUSED or await self.show(instance) is not None:
            raise refusal(reply)
        return reply

    async def _settle_gone(self, instance: InstanceId, was_accepted: bool) -> None:
        """Return where a listing proves that the instance is gone. Raise NotYet before that."""
        listing = await self.list(about=(instance,))
        if instance in listing.instances:
            raise NotYet(f"rental {instance} is still listed", self._look_again())
        created = None if was_accepted else self._creates.born(instance)
        await self._settle_absence(f"no rental {instance}", listing, created)

    async def _settle_absence(self, what: str, listing: Listing, created: datetime | None) -> None:
        """Return where the listing's silence is proof: it must have begun a lag after a create may have had its effect,
        None where none may. Raise NotYet, or what the account's answer says."""
        if not listing.complete:
            raise NotYet(f"{what} in a listing that is not complete", self._look_again())
        if created is not None:
            lag, age = timedelta(seconds=self._settings.lag_s), self._clock.since(created)
            if age - self._clock.since(listing.at) < lag:
                raise NotYet(f"{what} yet, within the provider's lag", max(lag - age, timedelta(seconds=0.1)))
        if not listing.instances:
            await self._settle_emptiness(what)

    async def _settle_emptiness(self, what: str) -> None:
        """An empty list may be a lie of the list alone: the account must answer, and pay for no rental."""
        await self.account()
        if await pays_for_rentals(self._api):
            raise NotYet(f"{what} in an empty listing, but the account pays for rentals", self._look_again())

    def _created_at(self, claim: Claim) -> datetime:
        """When a create under the claim may last have had its effect. Our own may have left long after the claim was
        journaled, queued behind others."""
        return min(claim.claimed_at, self._creates.last_effect(claim.label), key=self._clock.since)

    def _check_own(self, label: Label) -> None:
        if not label.startswith(self._label_prefix):
            raise Refused("provider_unavailable", f"{label} is not a label of this deployment: not touched")

    def _look_again(self) -> timedelta:
        return timedelta(seconds=self._settings.look_again_s)


def _expect_ok(reply: Reply) -> None:
    if reply.kind is not Kind.OK:
        raise refusal(reply)
