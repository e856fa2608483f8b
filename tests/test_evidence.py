"""Silence alone makes a suspect; a death needs a second source, and an error while asking is never an answer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from machines.evidence import (
    Verdict,
    collect,
    judge,
    may_be_unpaid,
    provider_testimony,
    ssh_testimony,
    with_credit,
    without_credit,
)
from machines.model import (
    Endpoint,
    HostId,
    Instance,
    InstanceId,
    LandlordId,
    Listing,
    Source,
    Status,
    Testimony,
    Word,
)
from machines.policy import Policy
from machines.ports import Reach

T0 = datetime(2026, 11, 23, tzinfo=UTC)
POLICY = Policy(confirm_after_s=30)
ME = InstanceId(7001)

RUNNING = Instance(
    ME,
    None,
    Status.RUNNING,
    wants_running=True,
    holds_gpu=True,
    host=HostId(1),
    landlord=LandlordId(1),
    ssh=Endpoint("127.0.0.1", 22),
    gpu_name="RTX 4090",
    num_gpus=1,
    is_interruptible=False,
    price_per_hour=0.4,
    detail="",
)
OTHER = replace(RUNNING, id=InstanceId(7002))


def listing(*rows, complete=True):
    return Listing({row.id: row for row in rows}, complete, T0)


def provider(row):
    return provider_testimony(ME, listing(row, OTHER), None, T0)


def ssh(reach, witness=True, answered=True):
    return ssh_testimony(reach, witness, answered, T0)


def verdict(*said, seconds=0, rounds=1):
    evidence = collect(None, ME, said, T0)
    for number in range(1, rounds):
        evidence = collect(evidence, ME, said, T0 + timedelta(seconds=seconds * number / (rounds - 1)))
    return judge(evidence, POLICY)


OFFLINE = replace(RUNNING, status=Status.OFFLINE)
CRASHED = replace(RUNNING, status=Status.EXITED)
OUTBID = replace(RUNNING, status=Status.EXITED, wants_running=False, holds_gpu=False, is_interruptible=True)
STOPPED = replace(OUTBID, is_interruptible=False)
QUEUED = replace(RUNNING, status=Status.EXITED, holds_gpu=False)


def test_agent_dead_but_machine_alive_is_no_death():
    found = verdict(provider(RUNNING), ssh(Reach.ANSWERED), seconds=600, rounds=20)
    assert found.verdict is Verdict.ALIVE
    assert "degraded monitoring" in found.because


def test_silent_machine_whose_provider_says_running_is_dead_only_after_confirmation():
    said = provider(RUNNING), ssh(Reach.REFUSED)
    assert verdict(*said).verdict is Verdict.UNSURE
    assert verdict(*said, seconds=29, rounds=4).verdict is Verdict.UNSURE
    assert verdict(*said, seconds=30, rounds=4).verdict is Verdict.DEAD


def test_one_answer_from_ssh_starts_the_confirmation_anew():
    evidence = collect(None, ME, (provider(RUNNING), ssh(Reach.SILENT)), T0)
    evidence = collect(evidence, ME, (provider(RUNNING), ssh(Reach.ANSWERED)), T0 + timedelta(seconds=20))
    evidence = collect(evidence, ME, (provider(RUNNING), ssh(Reach.SILENT)), T0 + timedelta(seconds=40))
    assert evidence.dead_since == T0 + timedelta(seconds=40)
    assert judge(evidence, POLICY).verdict is Verdict.UNSURE


@pytest.mark.parametrize("row", [OFFLINE, CRASHED])
def test_a_provider_that_takes_its_word_back_starts_the_confirmation_anew(row):
    """The host returned: its port does not answer yet, because the container boots."""
    evidence = collect(None, ME, (provider(row), ssh(Reach.SILENT)), T0)
    for seconds in (20, 40):
        evidence = collect(evidence, ME, (provider(row), ssh(Reach.SILENT)), T0 + timedelta(seconds=seconds))
    for seconds in (60, 80):
        evidence = collect(evidence, ME, (provider(RUNNING), ssh(Reach.REFUSED)), T0 + timedelta(seconds=seconds))
        assert judge(evidence, POLICY).verdict is Verdict.UNSURE
    evidence = collect(evidence, ME, (provider(RUNNING), ssh(Reach.REFUSED)), T0 + timedelta(seconds=90))
    assert judge(evidence, POLICY).verdict is Verdict.DEAD


def test_offline_host_and_mute_port_are_death_at_once():
    assert verdict(provider(OFFLINE), ssh(Reach.SILENT)).verdict is Verdict.DEAD


def test_offline_host_whose_port_answers_is_alive():
    assert verdict(provider(OFFLINE), ssh(Reach.ANSWERED), seconds=600, rounds=9).verdict is Verdict.ALIVE


def test_without_a_witness_the_port_says_nothing_and_the_provider_must_insist():
    said = provider(OFFLINE), ssh(Reach.SILENT, witness=False)
    assert verdict(*said).verdict is Verdict.UNSURE
    assert verdict(*said, seconds=31, rounds=4).verdict is Verdict.DEAD


def test_a_crashed_container_is_dead_and_worth_a_reboot():
    found = verdict(provider(CRASHED), ssh(Reach.REFUSED))
    assert found.verdict is Verdict.DEAD
    assert found.repairable


def test_a_rental_that_was_taken_away_is_gone():
    assert verdict(provider(OUTBID), ssh(Reach.REFUSED)).verdict is Verdict.DEAD


def test_an_owners_stop_and_a_queued_start_are_no_faults():
    assert verdict(provider(STOPPED), ssh(Reach.REFUSED), seconds=600, rounds=20).verdict is Verdict.UNSURE
    assert verdict(provider(QUEUED), ssh(Reach.REFUSED), seconds=600, rounds=20).verdict is Verdict.UNSURE


def test_an_empty_account_an_owner_a_higher_bid_and_a_contracts_end_are_told_apart():
    ended = replace(STOPPED, ends_at=T0 - timedelta(minutes=1))
    said = {
        "owner": with_credit(provider(STOPPED), 12.5),
        "empty": with_credit(provider(STOPPED), 0.0),
        "empty, by bid": with_credit(provider(OUTBID), -0.01),
        "higher bid": with_credit(provider(OUTBID), 12.5),
        "ended": with_credit(provider(ended), 12.5),
        "not told": with_credit(provider(STOPPED), None),
        "mute account": without_credit(provider(OUTBID), "HTTP 503"),
        "stopping": provider(replace(OUTBID, status=Status.RUNNING)),
    }
    found = {name: verdict(one, ssh(Reach.REFUSED), seconds=600, rounds=20) for name, one in said.items()}
    dead = {name for name, one in found.items() if one.verdict is Verdict.DEAD}
    assert dead == {"higher bid", "ended"}
    assert {name for name, one in found.items() if one.tells} == {"owner", "not told"}
    assert "outbid" in found["higher bid"].because
    assert "its contract ended at 2026-11-22T23:59:00" in found["ended"].because
    assert "stopped by its owner" in found["owner"].because
    assert "no credit" in found["empty"].because
    assert found["empty, by bid"].is_stopped
    assert "the account gave no answer: HTTP 503" in found["mute account"].because
    assert "it is being stopped" in found["stopping"].because


def test_only_a_stopped_rental_makes_us_ask_the_account():
    stopped = [row for row in (RUNNING, OFFLINE, CRASHED, OUTBID, STOPPED, QUEUED) if may_be_unpaid(provider(row), row)]
    assert stopped == [OUTBID, STOPPED]
    assert not may_be_unpaid(provider_testimony(ME, listing(OTHER), None, T0), None)


def test_gone_needs_a_complete_listing_of_others_and_an_empty_single_read():
    assert provider_testimony(ME, listing(OTHER), None, T0).word is Word.GONE
    assert provider_testimony(ME, listing(OTHER), RUNNING, T0).word is Word.ALIVE
    assert provider_testimony(ME, listing(OTHER, complete=False), None, T0).word is Word.UNKNOWN
    assert provider_testimony(ME, listing(), None, T0).word is Word.UNKNOWN


@pytest.mark.parametrize("reach", [Reach.REFUSED, Reach.SILENT, Reach.UNKNOWN])
@pytest.mark.parametrize("minutes", [1, 60])
def test_a_mute_provider_lets_nobody_die(reach, minutes):
    mute = Testimony(Source.PROVIDER, Word.UNKNOWN, "502", T0)
    found = verdict(mute, ssh(reach, answered=False), seconds=60 * minutes, rounds=30)
    assert found.verdict is Verdict.UNSURE


def test_an_empty_list_for_a_minute_is_no_verdict():
    empty = provider_testimony(ME, listing(), None, T0)
    assert verdict(empty, ssh(Reach.REFUSED), seconds=60, rounds=7).verdict is Verdict.UNSURE


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_is_stepped_between_two_rounds_confirms_nothing_and_delays_nothing_for_long(step):
    said = provider(RUNNING), ssh(Reach.SILENT)
    evidence = collect(None, ME, said, T0)
    evidence = collect(evidence, ME, said, T0 + step)
    assert judge(evidence, POLICY).verdict is Verdict.UNSURE
    for seconds in (10, 20, 30):
        evidence = collect(evidence, ME, said, T0 + step + timedelta(seconds=seconds))
    assert judge(evidence, POLICY).verdict is Verdict.DEAD
