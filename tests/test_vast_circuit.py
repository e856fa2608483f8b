"""A provider that answers nobody is left alone but for one probe at a time, and nothing that waits for it is spent."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.vast import Circuit, CircuitState, KeyDead, VastApi, VastSettings
from adapters.vast.settings import CHANGE, CREATE, LIST, SEARCH, Route
from machines.errors import NotYet, Unknown
from tests.test_vast_provider import EvenRandom, Provider, VirtualClock, virtual

AWAY = Unknown("HTTP 503")
LISTING = "GET /api/v1/instances/"
OUTAGE = (503, {})
FINE = (200, {"success": True, "instances": [], "total_instances": 0})
REFUSAL = (404, {"success": False, "error": "auth_error", "msg": "Invalid user key"})


class HandClock(VirtualClock):
    def __init__(self) -> None:
        self._elapsed = 0.0

    def monotonic(self) -> float:
        return self._elapsed

    def elapse(self, seconds: float) -> None:
        self._elapsed += seconds


class Story:
    """A circuit and its clock, which only the story moves."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.circuit = Circuit(self.clock)

    def fails(self, times: int = 1, seconds: float = 3.0, problem: Unknown = AWAY, route: Route = LIST) -> None:
        for _ in range(times):
            self.clock.elapse(seconds)
            with self.circuit.passage(route):
                self.circuit.failed(route, problem)

    def admits(self, route: Route = LIST) -> bool:
        try:
            self.circuit.check(route)
        except (Unknown, NotYet):
            return False
        return True


def test_it_opens_after_several_failures_in_a_row_and_some_time() -> None:
    story = Story()
    story.fails(4)
    assert story.circuit.state is CircuitState.CLOSED
    story.fails()
    assert story.circuit.state is CircuitState.OPEN
    hasty = Story()
    hasty.fails(40, seconds=0.2)
    assert hasty.circuit.state is CircuitState.CLOSED, "one moment is no outage"


def test_any_answer_keeps_it_closed() -> None:
    story = Story()
    for _ in range(10):
        story.fails(4)
        story.circuit.answered()
    assert story.circuit.state is CircuitState.CLOSED


def test_one_thing_that_the_provider_cannot_do_says_nothing_of_the_others() -> None:
    story = Story()
    story.fails(100, route=CHANGE)
    assert story.circuit.state is CircuitState.CLOSED
    story.fails(5)
    story.clock.elapse(60.0)
    assert not story.admits(CHANGE), "nor is it a probe"
    assert story.admits(LIST)


def test_one_probe_at_a_time_and_its_answer_closes_it() -> None:
    story = Story()
    story.fails(5)
    assert not story.admits()
    story.clock.elapse(2.0)
    with story.circuit.passage(LIST):
        assert story.circuit.state is CircuitState.HALF_OPEN
        assert story.circuit.is_open()
        story.clock.elapse(30.0)
        assert not story.admits()
        story.circuit.answered()
    assert story.circuit.state is CircuitState.CLOSED
    assert story.admits(CREATE)


def test_where_one_route_fails_another_may_show_that_the_provider_is_there() -> None:
    story = Story()
    story.fails(5)
    assert not story.admits(SEARCH)
    story.clock.elapse(2.0)
    with story.circuit.passage(LIST):
        assert not story.admits(LIST)
        assert story.admits(SEARCH)


def test_the_pause_between_probes_doubles_to_a_bound_and_begins_anew_after_an_answer() -> None:
    story = Story()
    story.fails(5)
    story.clock.elapse(2.0)
    for pause in (2.0, 4.0, 8.0, 15.0, 15.0):
        story.fails(seconds=0.0)
        story.clock.elapse(pause - 0.1)
        assert not story.admits()
        story.clock.elapse(0.1)
        assert story.admits()
    story.circuit.answered()
    story.fails(5)
    story.clock.elapse(2.0)
    assert story.admits()


def test_a_probe_that_nobody_waits_for_makes_room_for_the_next_after_its_pause() -> None:
    story = Story()
    story.fails(5)
    story.clock.elapse(2.0)
    with contextlib.suppress(GeneratorExit), story.circuit.passage(LIST):
        raise GeneratorExit
    assert story.circuit.state is CircuitState.OPEN
    assert not story.admits()
    story.clock.elapse(2.0)
    assert story.admits()


def test_what_may_bill_twice_is_never_the_probe_and_nothing_of_it_was_sent() -> None:
    story = Story()
    story.fails(5)
    story.clock.elapse(60.0)
    with pytest.raises(NotYet, match="nothing was sent"):
        story.circuit.check(CREATE)


def test_a_refused_key_is_told_as_one() -> None:
    story = Story()
    story.fails(5, problem=KeyDead("Invalid user key"))
    with pytest.raises(KeyDead, match="Invalid user key"):
        story.circuit.check(LIST)


Moves = Sequence[tuple[str, Route, float]]
ROUTES = st.sampled_from([LIST, SEARCH, CHANGE])


@given(st.lists(st.tuples(st.sampled_from(["good", "bad", "left"]), ROUTES, st.floats(0.0, 20.0)), max_size=60))
def test_whatever_happens_it_opens_only_in_an_outage_and_a_probe_is_never_far(moves: Moves) -> None:
    story, failed_at, refused_since = Story(), list[float](), dict[Route, float]()
    for outcome, route, seconds in moves:
        story.clock.elapse(seconds)
        now, was_open = story.clock.monotonic(), story.circuit.is_open()
        if not story.admits(route):
            assert was_open
            if route is not CHANGE:
                assert now - refused_since.setdefault(route, now) < 15.0 + 1e-6, "somebody may always try within that"
            continue
        refused_since.pop(route, None)
        with story.circuit.passage(route):
            assert not (was_open and story.admits(route)), "two probes of a route at once"
            if outcome == "good":
                story.circuit.answered()
                failed_at.clear()
            elif outcome == "bad" and route is not CHANGE:
                story.circuit.failed(route, AWAY)
                failed_at.append(now)
        if was_open:
            assert story.circuit.is_open() == (outcome != "good")
        else:
            is_outage = len(failed_at) >= 5 and failed_at[-1] - failed_at[0] >= 10.0
            assert story.circuit.is_open() == is_outage
            refused_since.clear()


@virtual
async def test_while_it_is_open_calls_end_at_once_and_the_first_answer_lets_all_out_again() -> None:
    provider, clock, settings = Provider(), VirtualClock(), VastSettings()
    provider.on(LISTING, OUTAGE)
    provider.on("PUT /api/v0/instances/5/", FINE)
    client = httpx.AsyncClient(base_url="http://vast.test", transport=httpx.MockTransport(provider.answer))
    circuit = Circuit(clock)
    reader, writer = (VastApi(client, clock, EvenRandom(), settings, circuit=circuit) for _ in range(2))
    for _ in range(4):
        with pytest.raises(Unknown):
            await reader.call(LIST)
        await clock.sleep(2.0)
    assert circuit.is_open()
    sent, now = len(provider.requests), clock.monotonic()
    with pytest.raises(Unknown, match="503") as lost:
        await writer.call(CHANGE, 5, {"state": "stopped"})
    assert lost.value.is_outage
    with pytest.raises(NotYet) as refused:
        await writer.call(CREATE, 7, {})
    assert refused.value.delay >= timedelta(seconds=1)
    assert (len(provider.requests), clock.monotonic()) == (sent, now), "nothing is sent, and nobody waits"
    provider.on(LISTING, FINE)
    await clock.sleep(15.0)
    await reader.call(LIST)
    assert (await writer.call(CHANGE, 5, {"state": "stopped"})).status == 200


@virtual
async def test_a_refused_key_opens_it_and_one_instance_that_fails_does_not() -> None:
    provider, clock = Provider(), VirtualClock()
    client = httpx.AsyncClient(base_url="http://vast.test", transport=httpx.MockTransport(provider.answer))
    circuit = Circuit(clock)
    api = VastApi(client, clock, EvenRandom(), VastSettings(), circuit=circuit)
    provider.on(LISTING, FINE)
    provider.on("PUT /api/v0/instances/5/", OUTAGE)
    for _ in range(30):
        with pytest.raises(Unknown) as lost:
            await api.call(CHANGE, 5, {"state": "running"})
        assert not lost.value.is_outage
    assert not circuit.is_open()
    await api.call(LIST)
    provider.on(LISTING, REFUSAL)
    for _ in range(6):
        with pytest.raises(KeyDead):
            await api.call(LIST)
        await clock.sleep(5.0)
    assert circuit.is_open()
