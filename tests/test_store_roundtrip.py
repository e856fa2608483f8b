"""Whatever a machine is, the store gives it back unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.sql import SqlStore
from machines import model
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
from machines.states import State

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
    max_price=st.none() | numbers,
    region=st.none() | words,
)
testimonies = st.builds(model.Testimony, st.sampled_from(Source), st.sampled_from(Word), words, times)
evidences = st.builds(
    Evidence, ids, st.lists(testimonies, max_size=3).map(tuple), times, st.none() | times, st.integers(0, 99)
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
    volume=st.none() | st.builds(model.VolumeMount, ids, words),
    standby=st.none() | st.builds(model.Standby, ids, ids, st.none() | words),
    hold=st.none() | st.builds(model.Hold, words, times, words, st.booleans(), st.none() | times),
    queued=st.none() | st.builds(model.Queued, times, times, st.sampled_from(model.WaitsFor)),
    suspicions=st.lists(times, max_size=3).map(tuple),
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


def test_every_field_of_a_machine_is_tried() -> None:
    """A field that the model gains later must be stored too, so the property above must speak of it."""
    default = Machine.__dataclass_fields__
    tried = {
        "id", "name", "state", "version", "fence", "setting", "mode", "priority", "primary", "host", "landlord",
        "is_interruptible", "ssh", "host_key", "workspace_path", "workload", "partition", "interval_s", "boot_id",
        "last_sequence", "because", "since", "evidence", "look_at", "failover", "last_failover", "price_per_hour",
        "volume", "standby", "hold", "queued", "suspicions",
    }  # fmt: skip
    assert set(default) == tried
