"""The race for a replacement: several offers are rented at once, the first that passes its checks wins.

Every rental is claimed in the journal before it is made. A claim that is out leaves a debt, so that nothing that it
may have rented is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from machines.budget import cost_of_boot, promised
from machines.errors import NotYet, Refused, StepError, Unknown
from machines.journal import Candidate, Entry, Mark, as_output
from machines.model import (
    Claim,
    Debt,
    DebtKind,
    Endpoint,
    FenceGrade,
    HostId,
    Instance,
    InstanceId,
    Label,
    Listing,
    Offer,
    OfferQuery,
    Snapshot,
    Status,
    VolumeMount,
)
from machines.onstart import held_back
from machines.saga import StepContext
from machines.shell_lines import CheckPlace
from machines.strategies.serving import Place

STEP = "rent_candidate"
NEVER_APPEARED = "never appeared under its label"
"""Of a claim that nothing was rented for."""
_LOOK_AGAIN = timedelta(seconds=5)
_SLOW_BOOT = timedelta(seconds=150)
"""A candidate older than this is still watched, but a fresh one is rented beside it."""
_LISTING_LAG = timedelta(seconds=15)
_MARKET_AGAIN = timedelta(seconds=10)
_SEARCH_AGAIN = timedelta(seconds=1)
_GONE_A_SEARCH = 5
"""Offers churn in seconds: after so many that were gone the rest of the list is old (facts/vast-api.md, trap 3)."""
_MARKET_PATIENCE = timedelta(minutes=10)
_HOST_PATIENCE = timedelta(seconds=30)
"""For a GPU on one host: what follows on the ladder is not kept waiting."""
_RELEASE = timedelta(seconds=90)
"""An attach fails for about 30 s after the volume's last instance was destroyed (facts/vast-api.md, section 6)."""
_OF_THE_STORE = ("no_snapshot", "provider_unavailable")
"""Refusals of the store of snapshots: no other host would be let in either."""
_MAX_CLAIMS = 80
_MAX_WIDTH = 5
_BID_FACTOR = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner(Place):
    candidate: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What the race is for: a place for a snapshot on any other host, or one on this host with the volume."""

    snapshot: Snapshot | None = None
    host: HostId | None = None
    volume: VolumeMount | None = None
    is_interruptible: bool = False


def query_for(ctx: StepContext) -> OfferQuery:
    """What a replacement must be: the machine's own GPU and place, on another host."""
    workload = ctx.machine.workload
    tried = {candidate.claim.offer.host for candidate in ctx.candidates(STEP)}
    hosts = tried | ctx.avoid_hosts | ({ctx.machine.host} if ctx.machine.host is not None else set())
    return OfferQuery(
        gpu_name=workload.gpu_name,
        num_gpus=workload.num_gpus,
        disk_gb=workload.disk_gb,
        max_price=ctx.policy.price_cap(workload.max_price, ctx.machine.price_per_hour),
        min_reliability=ctx.policy.min_reliability,
        region=workload.region,
        not_hosts=frozenset(hosts),
        min_inet_down=ctx.policy.min_inet_down_mbps,
    )


def query_for_host(ctx: StepContext) -> OfferQuery:
    """The same on the machine's own host, whatever is said of that host: its volume is nowhere else."""
    return replace(query_for(ctx), not_hosts=frozenset(), min_reliability=0.0, min_inet_down=0.0)


async def rent_candidate(ctx: StepContext, wish: Wish) -> Winner:
    """Rent, watch, check; raise NotYet until one passes. Refused("no_offer_matches") when there is nothing left."""
    race = _Race(ctx, wish)
    await race.resolve_claims()
    winner = await race.find_winner()
    if winner is not None:
        await race.drop_losers(winner)
        return winner
    await race.fill()
    if not race.live():
        if race.may_wait_for_offers():
            raise NotYet("the market has no offer now", _MARKET_AGAIN)
        if race.may_search_anew():
            raise NotYet("others were faster at every offer; searching anew", _SEARCH_AGAIN)
        if race.may_wait_for_the_volume():
            raise NotYet("the volume is still in use; it is asked for again", _LOOK_AGAIN)
        raise race.verdict()
    raise NotYet(race.standing(), _LOOK_AGAIN)


async def destroy_candidates(ctx: StepContext) -> None:
    """The undo: every claim's rental is destroyed, and seen to be gone."""
    for candidate in ctx.candidates(STEP):
        if candidate.is_live:
            await ctx.cloud.destroy(candidate.claim)


class _Race:
    """One look at all candidates of the step; what it learns goes to the journal at once."""

    def __init__(self, ctx: StepContext, wish: Wish) -> None:
        self._ctx = ctx
        self._wish = wish
        self._all: dict[int, Candidate] = {candidate.number: candidate for candidate in ctx.candidates(STEP)}
        self._entries = list(ctx.entries)
        """With what this look has written down."""
        self._last_refusal = "no offer was found"
        self._market_is_empty = False
        self._gone = 0
        """Offers of this look that others had taken."""
        self._is_over_budget = False
        self._volume_is_in_use = False
        """By the provider's answer at this look."""

    def live(self) -> list[Candidate]:
        return [candidate for candidate in self._all.values() if candidate.is_live]

    def may_wait_for_offers(self) -> bool:
        """One empty search is no verdict on a market, least of all after the old instance was fenced."""
        return self._market_is_empty and self._has_been_at_it() < self._patience()

    def may_search_anew(self) -> bool:
        """Nor are offers that others had taken: there may be as many again."""
        if self._gone == 0 or self._is_over_budget or self._has_tried_enough():
            return False
        return self._wish.host is None or self._has_been_at_it() < self._patience()

    def may_wait_for_the_volume(self) -> bool:
        """Its refusal is final only once all that we destroyed has had its time to let go of it."""
        if not self._volume_is_in_use or self._is_over_budget or self._has_tried_enough():
            return False
        return any(self._ctx.clock.since(at, unseen_at_most=_RELEASE / 2) < _RELEASE for at in self._let_go())

    def _let_go(self) -> list[datetime]:
        """When it was the old instance, and each rental of this race that came to nothing."""
        proof, rented = self._ctx.failover.proof, {one.number for one in self._all.values() if one.instance is not None}
        dropped = [one.at for one in self._entries if one.mark is Mark.DROPPED and one.candidate in rented]
        return dropped if proof is None else [proof.at, *dropped]

    def _patience(self) -> timedelta:
        """Where the old instance was destroyed for the sake of this place, what follows is older data, or nothing."""
        proof, is_first = self._ctx.failover.proof, self._ctx.failover.repeats == 0
        made_way = is_first and proof is not None and proof.grade is FenceGrade.DESTROYED
        return _HOST_PATIENCE if self._wish.host is not None and not made_way else _MARKET_PATIENCE

    def _has_been_at_it(self) -> timedelta:
        began = next((entry.at for entry in self._ctx.entries if entry.step == STEP), self._ctx.clock.now())
        return self._ctx.clock.since(began, unseen_at_most=self._patience() / 2)

    def _has_tried_enough(self) -> bool:
        rented = sum(1 for candidate in self._all.values() if candidate.instance is not None)
        return rented >= self._ctx.policy.max_candidates or len(self._all) >= _MAX_CLAIMS

    def standing(self) -> str:
        live = self.live()
        return f"{len(live)} of {len(self._all)} candidates are coming up"

    def verdict(self) -> Refused:
        rented = sum(1 for candidate in self._all.values() if candidate.instance is not None)
        if self._is_over_budget:
            return Refused("budget_exceeded", self._last_refusal)
        if rented:
            return Refused("boot_timeout", f"none of {rented} rented candidates came up: {self._last_refusal}")
        return Refused("no_offer_matches", self._last_refusal)

    async def resolve_claims(self) -> None:
        """A claim without an instance had its answer lost: adopt what bears its label, or abandon it to the debts."""
        for candidate in self.live():
            if candidate.instance is not None:
                continue
            try:
                instance = await self._ctx.cloud.adopt(candidate.claim)
            except (NotYet, Unknown):
                continue
            if instance is None:
                await self._drop(candidate, NEVER_APPEARED)
            else:
                await self._note(candidate, Mark.RENTED, instance=instance)

    async def find_winner(self) -> Winner | None:
        rented = [candidate for candidate in self.live() if candidate.instance is not None]
        if not rented:
            return None
        try:
            about = [candidate.instance for candidate in rented if candidate.instance is not None]
            listing = await self._ctx.cloud.list(max_age_s=3.0, about=about)
        except (NotYet, Unknown):
            return None
        for candidate in rented:
            winner = await self._look_at(candidate, listing)
            if winner is not None:
                return winner
        return None

    async def _look_at(self, candidate: Candidate, listing: Listing) -> Winner | None:
        assert candidate.instance is not None
        row = listing.instances.get(candidate.instance)
        timeout = timedelta(seconds=self._ctx.policy.boot_timeout_s)
        # A step of the clock between two lives of ours must not end a boot that is under way.
        age = self._ctx.clock.since(candidate.claim.claimed_at, unseen_at_most=timeout / 2)
        if row is None:
            if listing.complete and listing.instances and age > _LISTING_LAG:
                await self._drop(candidate, "its rental has disappeared")
            return None
        reason = _dead_boot(row)
        if reason is not None:
            await self._drop(candidate, reason, is_dead=True)
            return None
        if row.status is Status.RUNNING and row.ssh is not None:
            winner = await self._check(candidate, row, row.ssh)
            if winner is not None:
                return winner
        # Late is only what was looked at: it may have come up long ago, while nobody of us was there.
        if age > timeout and self._all[candidate.number].is_live:
            why = f"not usable after {timeout.total_seconds():.0f} s (status {row.status.value})"
            await self._drop(candidate, why, is_dead=True)
        return None

    async def _check(self, candidate: Candidate, row: Instance, ssh: Endpoint) -> Winner | None:
        """GPU, disk and shell in one command over SSH; then whether it can download at all."""
        try:
            result = await self._ctx.shell.run(ssh, CheckPlace(self._ctx.machine.workspace_path).line(), timeout_s=30.0)
            snapshot = self._wish.snapshot
            fault = check_fault(result.exit_status, result.stdout, row, snapshot.size_bytes if snapshot else 0)
            if fault is None and snapshot is not None:
                await self._ctx.snapshots.check_download(snapshot, row.id, ssh, result.host_key)
        except (NotYet, Unknown):
            return None
        except Refused as refused:
            # What the store of snapshots refuses is no fault of the host.
            is_dead = refused.code not in _OF_THE_STORE
            await self._drop(candidate, refused.why, is_dead=is_dead)
            return None
        if fault is not None:
            await self._drop(candidate, fault, is_dead=True)
            return None
        claim = candidate.claim
        return Winner(
            candidate=candidate.number,
            instance=row.id,
            label=claim.label,
            host=row.host,
            landlord=row.landlord,
            ssh=ssh,
            host_key=result.host_key,
            gpu_name=row.gpu_name,
            price_per_hour=row.price_per_hour,
            is_interruptible=row.is_interruptible,
        )

    async def drop_losers(self, winner: Winner) -> None:
        for candidate in self.live():
            if candidate.number != winner.candidate:
                await self._drop(candidate, f"candidate {winner.candidate} was first")

    async def fill(self) -> None:
        """Rent until the race is as wide as it should be."""
        if self._is_wide_enough():
            return
        for offer in await self._offers():
            if self._is_wide_enough() or self._gone >= _GONE_A_SEARCH or not self._may_pay_for(offer):
                return
            if self._volume_is_in_use:
                return  # Whichever offer it is wanted for.
            await self._rent(offer)

    def _is_wide_enough(self) -> bool:
        """As wide as the policy wants, wider by one with two deaths, and so wide that by the record of the market and of
        its hosts at least one of the racers should live."""
        policy, fresh = self._ctx.policy, [candidate for candidate in self.live() if self._is_fresh(candidate)]
        if self._has_tried_enough() or len(fresh) >= _MAX_WIDTH:
            return True
        if self._wish.volume is not None:
            return len(fresh) >= 1  # Two rentals would want the same volume.
        deaths = sum(1 for candidate in self._all.values() if not candidate.is_live and candidate.instance is not None)
        if len(fresh) < min(_MAX_WIDTH, policy.candidate_width + deaths // 2):
            return False
        odds = self._ctx.reputation.odds_that_all_die(candidate.claim.offer.host for candidate in fresh)
        return odds <= policy.accepted_odds

    def _may_pay_for(self, offer: Offer) -> bool:
        """Within what one failover may come to, even if it never boots."""
        ctx = self._ctx
        until_now = ctx.spent_before + promised(self._entries, STEP, ctx.clock.now(), ctx.policy)
        wanted = until_now + cost_of_boot(offer, ctx.policy)
        if wanted <= ctx.policy.max_failover_cost:
            return True
        self._is_over_budget = True
        limit = f"a failover may cost {ctx.policy.max_failover_cost:.2f} $ (policy.max_failover_cost)"
        self._last_refusal = f"its rentals come to {until_now:.2f} $, one more to {wanted:.2f} $; {limit}"
        return False

    async def _offers(self) -> Sequence[Offer]:
        query = replace(query_for(self._ctx), not_hosts=self._taken_hosts())
        if self._wish.host is not None:
            query = replace(query_for_host(self._ctx), is_interruptible=self._wish.is_interruptible)
        bad = self._ctx.reputation.bad_hosts(self._ctx.clock.now()) if self._wish.host is None else frozenset()
        try:
            offers = await self._ctx.cloud.search(replace(query, not_hosts=query.not_hosts | bad), self._wish.host)
            if not offers and bad - query.not_hosts:  # Better a host that failed lately than none.
                offers = await self._ctx.cloud.search(query, self._wish.host)
        except (NotYet, Unknown):
            if self.live():
                return ()
            raise
        self._market_is_empty = not offers
        if not offers:
            self._last_refusal = (
                f"no offer for {query.num_gpus} x {query.gpu_name or 'any GPU'} up to {query.max_price:.2f} $/h"
            )
        if self._wish.host is None:
            offers = _one_a_host(offers)
        # Machines that fail over together must not all run after the same cheapest offer.
        turn = int(self._ctx.machine.id) % len(offers) if offers else 0
        near = offers[: max(8, 2 * turn)]
        turn = turn % len(near) if near else 0
        return (*near[turn:], *near[:turn])

    def _taken_hosts(self) -> frozenset[HostId]:
        return query_for(self._ctx).not_hosts | {candidate.claim.offer.host for candidate in self._all.values()}

    def _is_fresh(self, candidate: Candidate) -> bool:
        return self._ctx.clock.since(candidate.claim.claimed_at) < _SLOW_BOOT

    async def _rent(self, offer: Offer) -> None:
        number = len(self._all)
        now, workload = self._ctx.clock.now(), self._ctx.machine.workload
        bid = self._bid(offer) if self._wish.is_interruptible else None
        claim = Claim(self._label(number), offer, now, workload, held_back(workload.onstart), self._wish.volume, bid)
        candidate = Candidate(number, claim, Mark.CLAIMED, None, None)
        await self._append(Entry(STEP, Mark.CLAIMED, claim.claimed_at, number, as_output(claim)))
        self._all[number] = candidate
        try:
            instance = await self._ctx.cloud.rent(claim)
        except Refused as refused:
            self._last_refusal = refused.why
            self._gone += refused.code == "no_offer_matches"
            self._volume_is_in_use |= refused.code == "volume_in_use"
            # A refusal is the provider's own word that nothing was rented, yet a debt costs only one look.
            await self._drop(candidate, refused.why, owed=refused.leaves_rental or refused.code != "no_offer_matches")
        except StepError:
            return
        else:
            await self._note(candidate, Mark.RENTED, instance=instance)

    def _bid(self, offer: Offer) -> float | None:
        """Somewhat above the least, so that not the first tenant who comes takes it away; its price holds the least."""
        if offer.bid is None:
            return None
        room = query_for_host(self._ctx).max_price - offer.price_per_hour
        return round(min(offer.bid * _BID_FACTOR, offer.bid + max(0.0, room)), 4)

    def _label(self, number: int) -> Label:
        ctx = self._ctx
        return Label(f"{ctx.deployment}-m{ctx.machine.id}-{ctx.failover_id}-a{ctx.attempt}-c{number}")

    async def _note(self, candidate: Candidate, mark: Mark, instance: InstanceId) -> None:
        entry = Entry(STEP, mark, self._ctx.clock.now(), candidate.number, {"instance": instance})
        await self._append(entry)
        self._all[candidate.number] = replace(candidate, mark=mark, instance=instance)

    async def _drop(self, candidate: Candidate, why: str, owed: bool = True, is_dead: bool = False) -> None:
        """`is_dead`: its host is to blame, which its record says from now on."""
        output = {"host": int(candidate.claim.offer.host)} if is_dead else {}
        entry = Entry(STEP, Mark.DROPPED, self._ctx.clock.now(), candidate.number, output, why=why)
        await self._append(entry, (self._debt(candidate, why),) if owed else ())
        self._all[candidate.number] = replace(candidate, mark=Mark.DROPPED, why=why)
        self._last_refusal = why

    async def _append(self, entry: Entry, debts: Sequence[Debt] = ()) -> None:
        await self._ctx.journal.append(entry, debts)
        self._entries.append(entry)

    def _debt(self, candidate: Candidate, why: str) -> Debt:
        claim = candidate.claim
        machine = self._ctx.machine.id
        return Debt(
            DebtKind.DESTROY_CLAIM,
            machine,
            self._ctx.failover_id,
            candidate.instance,
            claim.label,
            claim.claimed_at,
            f"candidate {candidate.number} is out: {why}",
        )


def _one_a_host(offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """The first of each host: a search shows every free GPU of it, and one death would end all racers there."""
    first: dict[HostId, Offer] = {}
    for offer in offers:
        first.setdefault(offer.host, offer)
    return tuple(first.values())


def _dead_boot(row: Instance) -> str | None:
    """Why this candidate will not come up any more; None while it may."""
    if row.status in (Status.EXITED, Status.OFFLINE):
        return f"its container is {row.status.value}: {row.detail}"
    if row.status is not Status.RUNNING and _is_start_error(row.detail):
        return f"its container does not start: {row.detail}"
    return None


def _is_start_error(detail: str) -> bool:
    """The texts of a start-up failure that Vast leaves in status_msg (facts/vast-api.md, section 9.2)."""
    marks = ("OCI runtime create failed", "manifest unknown", "pull access denied", "port is already allocated")
    return any(mark.lower() in detail.lower() for mark in marks)


def check_fault(exit_status: int, stdout: str, row: Instance, needed_bytes: int) -> str | None:
    """What the answer of a CheckPlace says against the place; None where nothing does."""
    gpus, _, disk = stdout.partition("---")
    if exit_status != 0:
        return f"its check command failed with status {exit_status}"
    names = [line.strip() for line in gpus.splitlines() if line.strip()]
    if len(names) < row.num_gpus:
        return f"it shows {len(names)} GPUs instead of {row.num_gpus}"
    columns = disk.split()
    free = int(columns[3]) * 1024 if len(columns) > 3 and columns[3].isdigit() else 0
    if free < needed_bytes:
        return f"its disk has {free} bytes free, the snapshot needs {needed_bytes}"
    return None
