"""The race for a replacement: several offers are rented at once, the first that passes its checks wins.

Every rental is claimed in the journal before it is made. A claim that is out leaves a debt, so that nothing that it
may have rented is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from machines.errors import NotYet, Refused, StepError, Unknown
from machines.journal import Candidate, Entry, Mark, as_output
from machines.model import (
    Claim,
    Debt,
    DebtKind,
    Endpoint,
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
_LOOK_AGAIN = timedelta(seconds=5)
_SLOW_BOOT = timedelta(seconds=150)
"""A candidate older than this is still watched, but a fresh one is rented beside it."""
_LISTING_LAG = timedelta(seconds=15)
_MARKET_AGAIN = timedelta(seconds=10)
_MARKET_PATIENCE = timedelta(minutes=10)
_HOST_PATIENCE = timedelta(seconds=30)
"""For a GPU on one host: what follows on the ladder is not kept waiting."""
_MAX_CLAIMS = 80
_MAX_WIDTH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner(Place):
    candidate: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What the race is for: a place for a snapshot on any other host, or one on this host with the volume."""

    snapshot: Snapshot | None = None
    host: HostId | None = None
    volume: VolumeMount | None = None


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
        not_landlords=frozenset(),
    )


def query_for_host(ctx: StepContext) -> OfferQuery:
    """The same on the machine's own host, whatever is said of that host: its volume is nowhere else."""
    return replace(query_for(ctx), not_hosts=frozenset(), min_reliability=0.0)


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
        self._last_refusal = "no offer was found"
        self._market_is_empty = False

    def live(self) -> list[Candidate]:
        return [candidate for candidate in self._all.values() if candidate.is_live]

    def may_wait_for_offers(self) -> bool:
        """One empty search is no verdict on a market, least of all after the old instance was fenced."""
        began = next((entry.at for entry in self._ctx.entries if entry.step == STEP), self._ctx.clock.now())
        patience = _HOST_PATIENCE if self._wish.host is not None else _MARKET_PATIENCE
        return self._market_is_empty and self._ctx.clock.since(began, unseen_at_most=patience / 2) < patience

    def standing(self) -> str:
        live = self.live()
        return f"{len(live)} of {len(self._all)} candidates are coming up"

    def verdict(self) -> Refused:
        rented = sum(1 for candidate in self._all.values() if candidate.instance is not None)
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
                await self._drop(candidate, "never appeared under its label")
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
            await self._drop(candidate, reason)
            return None
        if row.status is Status.RUNNING and row.ssh is not None:
            winner = await self._check(candidate, row, row.ssh)
            if winner is not None:
                return winner
        # Late is only what was looked at: it may have come up long ago, while nobody of us was there.
        if age > timeout and self._all[candidate.number].is_live:
            why = f"not usable after {timeout.total_seconds():.0f} s (status {row.status.value})"
            await self._drop(candidate, why)
        return None

    async def _check(self, candidate: Candidate, row: Instance, ssh: Endpoint) -> Winner | None:
        """GPU, disk and shell in one command over SSH; then whether it can download at all."""
        try:
            result = await self._ctx.shell.run(ssh, CheckPlace(self._ctx.machine.workspace_path).line(), timeout_s=30.0)
            snapshot = self._wish.snapshot
            fault = _check_fault(result.exit_status, result.stdout, row, snapshot.size_bytes if snapshot else 0)
            if fault is None and snapshot is not None:
                await self._ctx.snapshots.check_download(snapshot, row.id, ssh)
        except (NotYet, Unknown):
            return None
        except Refused as refused:
            fault = refused.why
        if fault is not None:
            await self._drop(candidate, fault)
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
        """Rent until the race is as wide as it should be; each death widens it by one."""
        deaths = sum(1 for c in self._all.values() if not c.is_live and c.instance is not None)
        width = min(_MAX_WIDTH, self._ctx.policy.candidate_width + deaths // 2)
        if self._wish.volume is not None:
            width = 1  # Two rentals would want the same volume.
        missing = width - len([candidate for candidate in self.live() if self._is_fresh(candidate)])
        rented = sum(1 for c in self._all.values() if c.instance is not None)
        missing = min(missing, self._ctx.policy.max_candidates - rented)
        if missing <= 0 or len(self._all) >= _MAX_CLAIMS:
            return
        for offer in await self._offers():
            if missing <= 0 or len(self._all) >= _MAX_CLAIMS:
                return
            if await self._rent(offer):
                missing -= 1

    async def _offers(self) -> Sequence[Offer]:
        query = replace(query_for(self._ctx), not_hosts=self._taken_hosts())
        if self._wish.host is not None:
            query = query_for_host(self._ctx)
        try:
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

    async def _rent(self, offer: Offer) -> bool:
        number = len(self._all)
        now, workload = self._ctx.clock.now(), self._ctx.machine.workload
        claim = Claim(self._label(number), offer, now, workload, held_back(workload.onstart), self._wish.volume)
        candidate = Candidate(number, claim, Mark.CLAIMED, None, None)
        await self._ctx.journal.append(
            Entry(STEP, Mark.CLAIMED, claim.claimed_at, number, as_output(claim)),
        )
        self._all[number] = candidate
        try:
            instance = await self._ctx.cloud.rent(claim)
        except Refused as refused:
            self._last_refusal = refused.why
            # A refusal is the provider's own word that nothing was rented, yet a debt costs only one look.
            await self._drop(candidate, refused.why, owed=refused.code != "no_offer_matches")
            return False
        except StepError:
            return True
        await self._note(candidate, Mark.RENTED, instance=instance)
        return True

    def _label(self, number: int) -> Label:
        ctx = self._ctx
        return Label(f"{ctx.deployment}-m{ctx.machine.id}-{ctx.failover_id}-a{ctx.attempt}-c{number}")

    async def _note(self, candidate: Candidate, mark: Mark, instance: InstanceId) -> None:
        entry = Entry(STEP, mark, self._ctx.clock.now(), candidate.number, {"instance": instance})
        await self._ctx.journal.append(entry)
        self._all[candidate.number] = replace(candidate, mark=mark, instance=instance)

    async def _drop(self, candidate: Candidate, why: str, owed: bool = True) -> None:
        entry = Entry(STEP, Mark.DROPPED, self._ctx.clock.now(), candidate.number, why=why)
        await self._ctx.journal.append(entry, (self._debt(candidate, why),) if owed else ())
        self._all[candidate.number] = replace(candidate, mark=Mark.DROPPED, why=why)
        self._last_refusal = why

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


def _check_fault(exit_status: int, stdout: str, row: Instance, needed_bytes: int) -> str | None:
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
