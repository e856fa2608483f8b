"""What the simulation has found, each as the short story that showed it."""

from __future__ import annotations

from adapters.virtual_clock import VirtualLoop, run_virtually
from daemon.simulation.run import Outcome, simulate
from daemon.simulation.scenarios import SCENARIOS
from daemon.simulation.theatre import Plan, Theatre
from daemon.simulation.weather import Event
from machines.model import MachineId
from tests.simulation.planted import story


def play(*events: Event, strategy: str = "cpu_standby", minutes: int = 12) -> Outcome:
    outcome = simulate(1, story(*events, minutes=minutes), strategy)
    assert outcome.violations == ()
    return outcome


def test_a_rebooted_machine_is_asked_at_its_new_port_and_not_taken_for_dead_when_its_agent_dies() -> None:
    outcome = play(Event(20, "container_crashes", 0, 0, "reboot helps"), Event(200, "agent_dies", 0, 200))
    assert outcome.seen["automatic failovers"] == 1, "only the reboot"


def test_a_death_after_the_brokers_clock_was_stepped_for_a_while_is_noticed_soon() -> None:
    outcome = play(Event(5, "broker_clock_steps", 1, 20), Event(60, "host_dies", 0))
    assert outcome.seen["failover succeeded by cpu_standby"] == 1
    assert outcome.simulated_s < 30 * 60


def test_a_failover_under_a_clock_that_was_stepped_back_and_forth_goes_on() -> None:
    steps = (Event(at, "clock_steps", 0, 10, "back") for at in (40, 65, 90, 115, 140))
    outcome = play(Event(20, "host_dies", 0), *steps)
    assert outcome.seen["failover succeeded by cpu_standby"] == 1
    assert outcome.simulated_s < 30 * 60


def test_a_replayed_notice_makes_no_suspect() -> None:
    outcome = play(
        Event(5, "broker_clock_steps", 1, 60),
        Event(20, "container_crashes", 0, 0, "reboot helps"),
        Event(300, "log_is_replayed"),
        Event(400, "log_is_replayed"),
    )
    assert outcome.seen["edge healthy -> detecting"] == 1


def test_an_alarm_that_was_set_under_a_clock_an_hour_ahead_comes_all_the_same() -> None:
    outcome = play(Event(20, "container_freezes", 0, 900), Event(45, "clock_steps", 0, 30, "forward"))
    assert outcome.seen["automatic failovers"] == 1
    assert outcome.simulated_s < 30 * 60


def test_a_create_that_waited_for_its_turn_is_not_sent_by_a_replica_that_was_overtaken_meanwhile() -> None:
    """Seed 202 of S2: frozen in the provider's queue, with the claim given up by the other replica when it wakes."""
    outcome = simulate(202, SCENARIOS["S2"], "all", (0, 2))
    assert outcome.violations == ()
    assert outcome.seen["failovers"] == 1


def test_an_older_life_of_the_agent_is_no_proof_that_a_reboot_helped() -> None:
    """A beat that tells of a broken GPU saves no boot id: memory knew another life than the books did."""
    outcome = play(
        Event(20, "gpu_breaks", 0),
        Event(40, "agent_dies", 0, 2),
        Event(120, "container_crashes", 0),
        minutes=20,
    )
    assert outcome.seen["failover succeeded by repair_primary"] == 0
    assert outcome.seen["failover succeeded by cpu_standby"] == 1


def test_beats_from_before_a_notice_are_no_sign_of_life_after_it() -> None:
    """Seed 3035 of S12: both were read in one go, after a pause."""
    outcome = play(
        Event(20, "container_crashes", 0),
        Event(240, "replica_is_frozen", 0, 290),
        Event(330, "newest_rental_dies", 0),
        minutes=25,
    )
    assert outcome.seen["edge detecting -> healthy"] == 0


def test_a_machine_that_was_removed_and_registered_anew_is_followed_by_the_replica_that_judges_it() -> None:
    """Its versions begin with 1 again, below those of the machine that it was."""

    async def story(loop: VirtualLoop) -> None:
        theatre = Theatre(Plan(1, 3, 2, ("cpu_standby",) * 3, "allowed"), loop)
        theatre.begin()
        for replica in theatre.replicas:
            replica.start()
        await theatre.clock.sleep(5.0)
        await theatre.register()
        await theatre.clock.sleep(60.0)
        one, another = MachineId(1), MachineId(2)
        new = next(person.instance for person in theatre.people if person.id == another)
        daemons = [replica.daemon for replica in theatre.replicas if replica.daemon is not None]
        (judge,) = [daemon for daemon in daemons if daemon.loop.judges(daemon.loop.known(one))]
        (beside,) = [daemon for daemon in daemons if daemon is not judge]
        for priority in range(50, 60):
            await beside.registry.put(one, {"priority": priority}, "an operator")
        await theatre.clock.sleep(5.0)
        for gone in (one, another):
            await beside.registry.remove(gone)
        await beside.registry.put(one, {"strategy": "cpu_standby", "gpu_instance_id": int(new)}, "an operator")
        await theatre.clock.sleep(5.0)
        known = judge.loop.known(one)
        assert known is not None
        assert (known.primary, known.priority) == (new, 0)

    run_virtually(story)
