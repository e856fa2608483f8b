"""Which sources agree that a machine is dead, and what each said.

An error while asking counts as unknown: never as dead, never as alive. Silence alone makes a suspect; a death needs
a second, independent source, or one statement with authority (facts/scenarios.md, S4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from machines.model import Evidence, Instance, InstanceId, Listing, Source, Status, Testimony, Word
from machines.policy import Policy
from machines.ports import Reach

_LONGEST_ROUND = timedelta(minutes=5)
"""Between two rounds of questions, with every time-out of the provider's in between."""


class Verdict(Enum):
    DEAD = "dead"
    ALIVE = "alive"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    because: str
    repairable: bool = False
    """Exited although running is intended: one reboot is tried before the ladder."""
    is_stopped: bool = False
    """Somebody stopped it, or an empty account did: it stays so until a person acts."""
    tells: bool = False
    """A person hears of it at this machine."""


def provider_testimony(instance: InstanceId, listing: Listing, shown: Instance | None, at: datetime) -> Testimony:
    """The provider's word on an instance, from one listing and one single read.

    A missing row counts as gone only where a complete listing that does show other rentals lacks it *and* the single
    read agrees: a dead key, an empty or a partial page must never read as "all gone" (facts/vast-api.md, 1.2, 4.2).
    """
    row = listing.instances.get(instance) or shown
    if row is None:
        if listing.complete and listing.instances:
            return Testimony(Source.PROVIDER, Word.GONE, "not in a complete listing, and the single read is empty", at)
        return Testimony(Source.PROVIDER, Word.UNKNOWN, "the listing is empty or partial: no word on it", at)
    return Testimony(Source.PROVIDER, _word_on(row, at), _describe(row, at), at)


def _word_on(row: Instance, at: datetime) -> Word:
    if row.status is Status.RUNNING:
        return Word.ALIVE if row.wants_running else Word.STOPPING
    if row.status is Status.OFFLINE:
        return Word.DEAD
    if row.status is Status.EXITED:
        if row.wants_running:
            return Word.CRASHED if row.holds_gpu else Word.UNKNOWN
        return Word.GONE if row.is_interruptible or _has_ended(row, at) else Word.STOPPED
    return Word.UNKNOWN


def _has_ended(row: Instance, at: datetime) -> bool:
    return row.ends_at is not None and row.ends_at <= at


def _describe(row: Instance, at: datetime) -> str:
    wanted = "running" if row.wants_running else "stopped"
    said = f"status {row.status.value}, intended {wanted}" + (f" ({row.detail})" if row.detail else "")
    if row.status is not Status.EXITED or row.wants_running:
        return said
    if row.ends_at is not None and _has_ended(row, at):
        return f"its contract ended at {row.ends_at.isoformat(timespec='seconds')}; {said}"
    return f"outbid: interruptible, and not stopped by us; {said}" if row.is_interruptible else said


def may_be_unpaid(said: Testimony, row: Instance | None) -> bool:
    """Is it stopped in the way in which an empty account stops everything? Then the account is asked."""
    return row is not None and said.word in (Word.STOPPED, Word.GONE)


def with_credit(said: Testimony, credit: float | None) -> Testimony:
    """The provider's word on a stopped rental, once the account was asked: at zero credit all of them stop at once, and
    none of that is a death (facts/vast-api.md, trap 5). `credit` is None where the provider does not say."""
    if credit is None:
        return said
    if credit <= 0:
        return replace(said, word=Word.UNPAID, detail=f"the account has no credit ({credit:.2f} $); {said.detail}")
    return replace(said, detail=f"stopped by its owner; {said.detail}") if said.word is Word.STOPPED else said


def without_credit(said: Testimony, why: str) -> Testimony:
    """The same where the account gave no answer: a rental that only looks as if it was taken away proves nothing then."""
    return replace(said, word=Word.UNKNOWN, detail=f"{said.detail}; the account gave no answer: {why}")


def ssh_testimony(reach: Reach, witness: bool, provider_answered: bool, at: datetime) -> Testimony:
    """A refused or silent port counts only if another host and the provider's API answered in the same round."""
    if reach is Reach.ANSWERED:
        return Testimony(Source.SSH, Word.ALIVE, "the SSH port answers", at)
    if reach is Reach.UNKNOWN:
        return Testimony(Source.SSH, Word.UNKNOWN, "our own side could not ask", at)
    if not witness:
        return Testimony(Source.SSH, Word.UNKNOWN, f"the SSH port is {reach.value}, but no other host answered us", at)
    if not provider_answered:
        return Testimony(Source.SSH, Word.UNKNOWN, f"the SSH port is {reach.value}, but the provider was mute", at)
    return Testimony(Source.SSH, Word.DEAD, f"the SSH port is {reach.value}, another host answers", at)


def collect(before: Evidence | None, instance: InstanceId, said: Sequence[Testimony], at: datetime) -> Evidence:
    """A new round of testimonies; `dead_since` goes on only while every round calls the instance dead."""
    same = before if before is not None and before.instance == instance else None
    dead = any(testimony.word in (Word.DEAD, Word.GONE, Word.CRASHED) for testimony in said)
    alive = any(testimony.word is Word.ALIVE and testimony.source is Source.SSH for testimony in said)
    # Rounds an hour apart, or before one another, are the work of a clock that was stepped: the row begins anew.
    goes_on = same is not None and timedelta(0) <= at - same.at <= _LONGEST_ROUND and not _runs_again(same, said)
    since = (same.dead_since if same and same.dead_since and goes_on else at) if dead and not alive else None
    kept = () if same is None else tuple(t for t in same.testimonies if t.source in _KEPT)
    return Evidence(instance, (*kept, *said), at, since, (same.rounds if same else 0) + 1)


_KEPT = (Source.HEARTBEAT, Source.NOTICE, Source.WEBHOOK)
"""What was said to us; the others are asked again each round."""


def _runs_again(before: Evidence, said: Sequence[Testimony]) -> bool:
    """Has the provider taken its word back? Then a port that does not answer yet is that of a machine that boots."""
    was = any(one.source is Source.PROVIDER and one.word in (Word.DEAD, Word.CRASHED) for one in before.testimonies)
    return was and any(one.source is Source.PROVIDER and one.word is Word.ALIVE for one in said)


def judge(evidence: Evidence, policy: Policy) -> Judgement:
    """The verdict on a machine that is already silent (or noticed): silence is the first source."""
    words = {testimony.source: testimony for testimony in evidence.testimonies}
    provider = words.get(Source.PROVIDER)
    ssh = words.get(Source.SSH)
    said = provider.word if provider else Word.UNKNOWN
    if provider is not None and said is Word.STOPPING:
        return Judgement(Verdict.UNSURE, f"it is being stopped: {provider.detail}")
    if ssh is not None and ssh.word is Word.ALIVE and said is not Word.GONE:
        fault = words.get(Source.HEARTBEAT)
        because = fault.detail if fault is not None else "degraded monitoring: no heartbeat"
        return Judgement(Verdict.ALIVE, f"{because}{';' if fault else ', but'} {ssh.detail}")
    if provider is None or said is Word.UNKNOWN:
        return Judgement(Verdict.UNSURE, provider.detail if provider else "the provider was not asked")
    if said is Word.GONE:
        return Judgement(Verdict.DEAD, f"silent, and the provider says gone: {provider.detail}")
    if said is Word.UNPAID:
        return Judgement(
            Verdict.UNSURE, f"stopped for lack of credit, not by a fault: {provider.detail}", is_stopped=True
        )
    if said is Word.STOPPED:
        because = f"stopped on purpose, not by a fault: {provider.detail}"
        return Judgement(Verdict.UNSURE, because, is_stopped=True, tells=True)
    if ssh is None or ssh.word is not Word.DEAD:
        return _without_ssh(evidence, provider, policy)
    if said is Word.CRASHED:
        return Judgement(Verdict.DEAD, f"silent, the container has exited, {ssh.detail}", repairable=True)
    if said is Word.DEAD:
        return Judgement(Verdict.DEAD, f"silent, the provider says its host is offline, {ssh.detail}")
    return _after_confirmation(evidence, ssh, policy)


def _without_ssh(evidence: Evidence, provider: Testimony, policy: Policy) -> Judgement:
    if provider.word in (Word.DEAD, Word.CRASHED) and _lasted(evidence, policy):
        because = f"silent, and for {policy.confirm_after_s:.0f} s the provider says: {provider.detail}"
        return Judgement(Verdict.DEAD, because, repairable=provider.word is Word.CRASHED)
    return Judgement(Verdict.UNSURE, f"only one source: the provider says {provider.detail}")


def _after_confirmation(evidence: Evidence, ssh: Testimony, policy: Policy) -> Judgement:
    if _lasted(evidence, policy):
        because = f"silent, {ssh.detail} for {policy.confirm_after_s:.0f} s, although the provider says running"
        return Judgement(Verdict.DEAD, because)
    return Judgement(Verdict.UNSURE, f"silent, {ssh.detail}; not yet for {policy.confirm_after_s:.0f} s")


def _lasted(evidence: Evidence, policy: Policy) -> bool:
    if evidence.dead_since is None or evidence.rounds < 2:
        return False
    return evidence.at - evidence.dead_since >= timedelta(seconds=policy.confirm_after_s)
