"""Silence is counted in log time: outages, replays and stepped clocks silence nobody."""

from hypothesis import given
from hypothesis import strategies as st

from events.schema import Heartbeat
from machines.detector import Detector, LogTimeLimits
from machines.policy import Policy


def detector(limits=None):
    found = Detector(Policy(grace_factor=3.0, grace_floor_s=5.0), limits)
    found.own(0)
    return found


class Story:
    """One partition whose records are told one after the other."""

    def __init__(self, limits=None):
        self.detector = detector(limits)
        self.offset = 0
        self.at = 1000.0

    def tick(self, seconds=1.0, times=1):
        for _ in range(times):
            self.at += seconds
            self.detector.clock(0).advance(self.offset, self.at)
            self.offset += 1

    def beat(self, machine=1, instance=11, boot="b1", sequence=1, gpu=None):
        return self.detector.hear(0, [Heartbeat(machine, instance, boot, sequence, 10.0, gpu)])

    def silent(self):
        return [silence.machine_id for silence in self.detector.scan(0)]


def armed(limits=None):
    story = Story(limits)
    story.tick()
    story.detector.arm(1, 0, 11, 10.0, alert=False)
    story.beat()
    return story


def test_a_beating_machine_is_not_silent():
    story = armed()
    for sequence in range(2, 20):
        story.tick(times=10)
        assert story.beat(sequence=sequence) == []
        assert story.silent() == []


def test_the_time_between_beats_of_one_life_is_told():
    story, gaps = armed(), []

    def hears(sequence, boot="b1", instance=11):
        story.detector.hear(0, [Heartbeat(1, instance, boot, sequence, 10.0)], gaps)

    for sequence, seconds in ((2, 10), (3, 12), (3, 5)):
        story.tick(times=seconds)
        hears(sequence)
    assert gaps == [10.0, 12.0], "a beat that comes again is none"
    hears(1, boot="b2")
    hears(9, instance=12)
    assert len(gaps) == 2, "nor is the first of another life, or one of a stranger"
    story.tick(times=9)
    hears(2, boot="b2")
    assert gaps[2:] == [9.0]


def test_silence_beyond_grace_is_reported_once():
    story = armed()
    story.tick(times=30)
    assert story.silent() == []
    story.tick(times=2)
    assert story.silent() == [1]
    story.tick(times=100)
    assert story.silent() == []


def test_a_machine_never_heard_is_judged_too():
    story = Story()
    story.tick()
    story.detector.arm(1, 0, 11, 10.0, alert=False)
    story.tick(times=32)
    assert story.silent() == [1]


def test_an_outage_of_the_log_silences_nobody_and_makes_the_observer_blind():
    story = armed()
    story.tick(seconds=600.0)
    assert story.silent() == []
    assert story.detector.has_gap(0)
    story.beat(sequence=2)
    story.tick(times=31)
    assert not story.detector.has_gap(0)


def test_a_stepped_clock_counts_for_two_seconds_at_most():
    story = armed()
    story.tick(seconds=3600.0)
    story.tick(seconds=-3600.0)
    story.tick(times=10)
    assert story.silent() == []


def test_a_clock_that_was_stepped_back_leaves_nobody_unwatched():
    story = armed()
    story.tick(seconds=3600.0)
    story.tick(seconds=-3600.0)
    story.tick(times=31)
    assert not story.detector.has_gap(0)
    assert story.silent() != []


def test_records_a_little_out_of_order_do_not_make_log_time_run_faster():
    story = armed()
    before = story.detector.clock(0).now
    for _ in range(20):
        story.tick(seconds=1.5)
        story.tick(seconds=-1.5)
    assert story.detector.clock(0).now - before < 2.0


def test_a_replay_moves_nothing():
    story = armed()
    before = story.detector.clock(0).now
    for offset in range(story.offset):
        story.detector.clock(0).advance(offset, 5000.0 + offset)
    assert story.detector.clock(0).now == before


def test_an_old_sequence_refreshes_nothing():
    story = armed()
    story.beat(sequence=50)
    story.tick(times=25)
    story.beat(sequence=49)
    story.tick(times=10)
    assert story.silent() == [1]


def test_a_restarted_agent_is_no_replay():
    story = armed()
    story.beat(sequence=900)
    story.tick(times=25)
    news = story.beat(boot="b2", sequence=1)
    assert [item.is_new_boot for item in news] == [True]
    story.tick(times=10)
    assert story.silent() == []


def test_an_old_instance_never_refreshes_the_new_one():
    story = armed()
    story.detector.arm(1, 0, 12, 10.0, alert=True)
    story.tick(times=20)
    assert len(story.beat(instance=11, sequence=99)) == 1
    story.tick(times=15)
    assert story.silent() == [1]


def test_the_first_beat_of_a_suspect_is_news():
    story = armed()
    story.tick(times=40)
    assert story.silent() == [1]
    assert [item.is_resumed for item in story.beat(sequence=2)] == [True]


def test_a_gpu_fault_is_news_each_time():
    story = armed()
    assert len(story.beat(sequence=2, gpu="gpu 0: fallen off the bus")) == 1
    assert story.beat(sequence=3, gpu="ok") == []


def test_a_disowned_partition_is_forgotten():
    story = armed()
    story.detector.disown(0)
    assert story.detector.partition_of(1) is None


def test_the_share_of_the_silent_leaves_out_those_long_gone():
    story = Story()
    story.tick()
    for machine in range(1, 13):
        story.detector.arm(machine, 0, machine * 10, 10.0, alert=False)
    story.tick(times=35)
    assert story.detector.silent_share() == (12, 12)
    story.tick(times=100)
    assert story.detector.silent_share() == (0, 0)


@given(st.lists(st.floats(-5000, 5000, allow_nan=False), max_size=50))
def test_log_time_never_runs_back_and_never_faster_than_its_clamp(steps):
    story = Story(LogTimeLimits(2.0, 2.0))
    clock = story.detector.clock(0)
    story.tick()
    for number, step in enumerate(steps):
        before = clock.now
        story.tick(seconds=step)
        assert 0.0 <= clock.now - before <= 2.0, number


def test_after_a_change_of_owners_beats_of_an_agent_that_is_known_are_no_news():
    """Each of three thousand would otherwise become a signal at every rebalance."""
    story = Story()
    story.tick()
    story.detector.arm(1, 0, 11, 10.0, alert=False, boot_id="b1")
    assert story.beat(sequence=7) == []
    assert [news.is_new_boot for news in story.beat(boot="b2")] == [True]


def test_a_suspect_that_speaks_is_news_also_where_its_agent_is_known():
    story = Story()
    story.tick()
    story.detector.arm(1, 0, 11, 10.0, alert=True, boot_id="b1")
    assert [news.is_resumed for news in story.beat(sequence=7)] == [True]


def test_a_replay_is_nothing_also_to_a_replica_that_did_not_hear_what_is_replayed():
    story = Story()
    story.tick()
    story.detector.arm(1, 0, 11, 10.0, alert=True, boot_id="b1", sequence=7)
    assert [story.beat(sequence=number) for number in range(1, 8)] == [[]] * 7
    assert [news.beat.sequence for news in story.beat(sequence=8)] == [8]


def test_a_machine_that_speaks_where_another_listens_is_not_judged_here_any_more():
    story = armed()
    story.detector.arm(1, 7, 11, 10.0, alert=False)
    assert story.detector.partition_of(1) is None
    story.tick(times=60)
    assert story.silent() == []


def test_one_slow_agent_makes_nobody_else_unseen_after_a_gap():
    story = armed()
    story.detector.arm(99, 0, 99, 86400.0, alert=False)
    story.tick(5.0)
    assert story.detector.has_gap(0)
    story.tick(times=31)
    assert not story.detector.has_gap(0)
    assert not story.detector.has_gap(0, 30.0)
    assert story.detector.has_gap(0, 600.0), "its own silence is not trusted yet"


def test_the_grace_of_a_forgotten_machine_counts_for_nobody():
    story = Story()
    story.detector.arm(99, 0, 99, 86400.0, alert=False)
    story.tick()
    story.detector.forget(99)
    story.tick(5.0)
    assert story.detector.has_gap(0)
    story.tick(times=6)
    assert not story.detector.has_gap(0)
