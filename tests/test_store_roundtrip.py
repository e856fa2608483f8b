"""Whatever a machine is, the store gives it back unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.sql import SqlStore
from adapters.sql.records import AuditRecord, TokenRecord
from machines import model
from machines.access import Scope
from machines.cpu_vm import CpuStandby, VmPlace, VmServing, WorkspaceCopy
from machines.model import (
    Endpoint,
    Evidence,
    FenceGrade,
    FenceProof,
    Machine,
    Mode,
    Reason,
    Rung,
    Running,
    Setting,
    Source,
    Word,
    Workload,
)
from machines.notifications import Level, Notification, Owed
from machines.states import State
from machines.volumes import RegionalVolume, VolumeStatus

ids = st.integers(1, 2**63 - 1)
times = st.datetimes(timezones=st.just(UTC))
numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
endpoints = st.builds(Endpoint, words, st.integers(0, 65535))
proofs = st.builds(FenceProof, st.sampled_from(FenceGrade), words, times)
workloads = st.builds(
    Workload,
    image=words,
    disk_gb=numbers,
    gpu_name=st.none() | words,
    num_gpus=st.integers(0, 16),
    env=st.dictionaries(words, words, max_size=3),
    onstart=st.none() | words,
    runtype=words,
    image_login=st.none() | words,
    ssh_keys=st.lists(words, max_size=3).map(tuple),
    max_price=st.none() | numbers,
    region=st.none() | words,
)
testimonies = st.builds(model.Testimony, st.sampled_from(Source), st.sampled_from(Word), words, times)
evidences = st.builds(
    Evidence, ids, st.lists(testimonies, max_size=3).map(tuple), times, st.none() | times, st.integers(0, 99)
)
mounts = st.builds(model.VolumeMount, ids, words, st.none() | st.builds(model.Replica, ids, ids, times))
wishes = st.builds(
    model.Wishes,
    st.none() | mounts,
    st.lists(words, max_size=3).map(tuple),
    st.none() | numbers,
    st.booleans(),
    st.none() | words,
)
runnings = st.builds(
    Running,
    id=st.just("fo_1"),
    reason=st.sampled_from(Reason),
    ladder=st.lists(st.sampled_from(Rung), min_size=1, max_size=4).map(tuple),
    position=st.integers(0, 3),
    started_at=times,
    fence=st.integers(0, 2**63 - 1),
    proof=st.none() | proofs,
    primary_was_alive=st.booleans(),
    cancel_asked=st.booleans(),
    primary_spoke=st.booleans(),
    attempt=st.integers(1, 99),
    repeats=st.integers(0, 2),
    wishes=st.none() | wishes,
)
standbys = st.builds(model.Standby, ids, ids, st.none() | words)
prepared = st.builds(
    model.Prepared,
    mounts,
    ids,
    standbys,
    numbers,
    st.none() | numbers,
    st.none() | standbys,
    st.booleans(),
)
warm_pools = st.builds(
    model.WarmPool,
    st.none() | st.integers(1, 100_000),
    st.none() | words,
    st.none() | words,
    st.none() | numbers,
    st.none() | words,
    st.booleans(),
    st.none() | prepared,
)
places = st.builds(VmPlace, words, words, st.none() | ids, st.none() | words)
servings = st.builds(VmServing, words, st.integers(0, 65535), words, times)
cpu_standbys = st.builds(
    CpuStandby,
    zone=st.none() | words,
    machine_type=st.none() | words,
    keep_running=st.booleans(),
    vm=st.none() | places,
    command=st.none() | words,
    accepts_smaller=st.booleans(),
    serving=st.none() | servings,
)
copies = st.builds(WorkspaceCopy, words, st.integers(0, 2**64 - 1), ids, times, ids, ids, words)
owns = st.builds(
    model.Own,
    st.dictionaries(words, st.integers(0, 10**6) | numbers, max_size=3),
    st.lists(words, max_size=3).map(tuple),
    st.lists(words, max_size=3).map(tuple),
    st.lists(words, max_size=3).map(tuple),
)
machines = st.builds(
    Machine,
    id=ids,
    name=words,
    state=st.sampled_from(State),
    version=st.integers(0, 2**62),
    fence=st.integers(0, 2**63 - 1),
    setting=st.sampled_from(Setting),
    mode=st.sampled_from(Mode),
    priority=st.integers(-(2**31), 2**31),
    primary=st.none() | ids,
    host=st.none() | ids,
    landlord=st.none() | ids,
    is_interruptible=st.booleans(),
    ssh=st.none() | endpoints,
    host_key=st.none() | words,
    workspace_path=words,
    workload=workloads,
    partition=st.none() | st.integers(0, 4095),
    interval_s=numbers,
    boot_id=words,
    last_sequence=st.none() | st.integers(0, 2**62),
    because=words,
    since=st.none() | times,
    evidence=st.none() | evidences,
    look_at=st.none() | times,
    failover=st.none() | runnings,
    last_failover=st.none() | st.just("fo_0"),
    price_per_hour=st.none() | numbers,
    volume=st.none() | mounts,
    standby=st.none() | standbys,
    cpu_standby=st.none() | cpu_standbys,
    warm_pool=st.none() | warm_pools,
    hold=st.none() | st.builds(model.Hold, words, times, words, st.booleans(), st.none() | times),
    queued=st.none() | st.builds(model.Queued, times, times, st.sampled_from(model.WaitsFor)),
    registered=st.none() | st.builds(model.Registered, times, st.integers(0, 2**63 - 1)),
    suspicions=st.lists(times, max_size=3).map(tuple),
    beat_generation=st.integers(0, 2**31 - 1),
    own=owns,
    rest=st.none() | st.builds(model.Rest, words, times, words),
    observed_at=st.none() | times,
)


regional_volumes = st.builds(
    RegionalVolume,
    number=st.just(0),
    region=words,
    size_gb=st.integers(1, 100_000),
    status=st.sampled_from(VolumeStatus),
    created_at=times,
    handle=st.none() | ids,
    volume=st.none() | ids,
    name=st.none() | words,
    machine=st.none() | ids,
    host=st.none() | ids,
    label=st.none() | words,
    price_per_month=st.none() | numbers,
    replica_of=st.none() | ids,
    copied_from=st.none() | ids,
    copied_at=st.none() | times,
    seen=st.lists(ids, max_size=3).map(tuple),
    command_id=st.none() | words,
)

tokens = st.builds(
    TokenRecord,
    name=words,
    digest=words,
    scope=st.sampled_from(Scope),
    created_at=times,
    created_by=words,
    machine_id=st.none() | ids,
    expires_at=st.none() | times,
    last_used_at=st.none() | times,
    revoked_at=st.none(),
    revoked_by=st.none(),
)
audits = st.builds(
    AuditRecord,
    at=times,
    asked_by=words,
    door=st.sampled_from(["http", "cli", "kafka", "daemon"]),
    what=words,
    machine_id=st.none() | ids,
    subject=st.none() | words,
    reason=st.none() | words,
    detail=st.dictionaries(words, st.none() | words | st.lists(words, max_size=2), max_size=2),
    number=st.just(0),
)


notifications = st.builds(
    Notification,
    id=st.just(0),
    channel=words,
    keys=st.lists(words, max_size=3).map(tuple),
    ref=words,
    level=st.sampled_from(Level),
    text=words,
    opened_at=times,
    owed=st.none() | st.sampled_from(Owed),
    told_at=st.none() | times,
    due_at=st.none() | times,
    tries=st.integers(0, 99),
    last_error=st.none() | words,
    ended_at=st.none() | times,
    is_summary=st.booleans(),
)


class _Undone(Exception):
    """Ends an example's transaction, so that the next one finds the store empty."""


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(database_url)) as store:
        yield store


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(machine=machines)
def test_a_machine_comes_back_as_it_was_stored(store: SqlStore, machine: Machine) -> None:
    with suppress(_Undone), store.transaction() as tx:
        if machine.failover is not None:
            tx.begin_failover(machine, machine.failover, machine.setting, "", "", None, machine.evidence)
        tx.insert_machine(machine)
        assert tx.machine(machine.id) == machine
        saved = tx.save_machine(machine)
        assert tx.machines() == [saved]
        if machine.failover is not None:
            record = tx.failover(machine.failover.id)
            assert record is not None
            assert (record.running, record.evidence) == (machine.failover, machine.evidence)
        raise _Undone


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(volume=regional_volumes)
def test_a_regional_volume_comes_back_as_it_was_stored(store: SqlStore, volume: RegionalVolume) -> None:
    with suppress(_Undone), store.transaction() as tx:
        stored = tx.insert_volume(volume)
        assert replace(stored, number=0) == volume
        assert tx.regional_volumes() == [stored]
        assert tx.save_volume(stored)
        assert tx.volume_row(stored.number) == stored
        raise _Undone


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(token=tokens, audit=audits, at=times)
def test_a_token_and_a_change_come_back_as_they_were_stored(
    store: SqlStore, token: TokenRecord, audit: AuditRecord, at: datetime
) -> None:
    with suppress(_Undone), store.transaction() as tx:
        assert tx.insert_token(token)
        assert not tx.insert_token(token)
        assert tx.unrevoked_tokens() == tx.tokens(None, 9) == [token]
        tx.note_token_use([token.digest], at)
        assert tx.revoke_token(token.name, "ana", at)
        assert not tx.revoke_token(token.name, "ana", at)
        assert tx.unrevoked_tokens() == []
        assert tx.tokens(None, 9) == [replace(token, last_used_at=at, revoked_at=at, revoked_by="ana")]
        tx.audit(audit)
        (kept,) = tx.audited(audit.machine_id, None, 9)
        assert replace(kept, number=0) == audit
        assert tx.audited(None, kept.number, 9) == []
        raise _Undone


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(notification=notifications)
def test_a_notification_comes_back_as_it_was_stored(store: SqlStore, notification: Notification) -> None:
    with suppress(_Undone), store.transaction() as tx:
        tx.save_notifications([notification])
        [stored] = tx.notifications(notification.channel, notification.opened_at)
        assert replace(stored, id=0) == notification
        changed = replace(stored, text="other", owed=Owed.END)
        tx.save_notifications([changed])
        assert tx.notifications(notification.channel, notification.opened_at) == [changed]
        raise _Undone


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(first=copies, second=copies)
def test_a_copy_of_a_workspace_comes_back_as_it_was_stored_and_replaces_the_one_before(
    store: SqlStore, first: WorkspaceCopy, second: WorkspaceCopy
) -> None:
    with suppress(_Undone), store.transaction() as tx:
        for one in (first, second):
            tx.save_copy(model.MachineId(1), one)
            assert tx.workspace_copy(model.MachineId(1)) == one
        tx.forget_copy(model.MachineId(1))
        assert tx.workspace_copy(model.MachineId(1)) is None
        raise _Undone


def test_every_field_of_a_machine_is_tried() -> None:
    """A field that the model gains later must be stored too, so the property above must speak of it."""
    default = Machine.__dataclass_fields__
    tried = {
        "id", "name", "state", "version", "fence", "setting", "mode", "priority", "primary", "host", "landlord",
        "is_interruptible", "ssh", "host_key", "workspace_path", "workload", "partition", "interval_s", "boot_id",
        "last_sequence", "because", "since", "evidence", "look_at", "failover", "last_failover", "price_per_hour",
        "volume", "standby", "cpu_standby", "warm_pool", "hold", "queued", "registered", "suspicions", "beat_generation",
        "own", "rest", "observed_at",
    }  # fmt: skip
    assert set(default) == tried
