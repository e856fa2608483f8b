"""Where failovers are left half-done: every strategy, at boundaries that mean something else after each restart."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.sim.settings import VolumeSharing
from daemon.simulation.books import Books
from daemon.simulation.weather import Event

CRASH, CRASH_FOR_GOOD, DIES = (
    Event(0, "container_crashes", 0, 0, "reboot helps"),
    Event(0, "container_crashes"),
    Event(0, "host_dies"),
)
ASKED = Event(0, "operator", 0, 0, "failover")


@dataclass(frozen=True, slots=True)
class Case:
    """One failover, and the moment at which its daemon is killed.

    `commit` is "step mark" of the journal, or "ended"; `answer` is a change at the provider whose answer never arrives.
    """

    name: str
    strategy: str
    begins: Event
    commit: str | None = None
    answer: str | None = None
    sharing: VolumeSharing = "allowed"
    cancel_at: str | None = None
    """The commit at which an operator cancels it."""
    about: str = ""


def stands(books: Books, commit: str) -> bool:
    """Is this the newest thing that was written of the failover?"""
    found = books.failovers()
    if not found:
        return False
    if commit == "ended":
        return found[0].ended_at is not None
    rows = books.journal(found[0].id)
    return bool(rows) and f"{rows[-1].step} {rows[-1].mark}" == commit


CASES = (
    Case("repair_primary-before-the-reboot", "warm_pool", CRASH, "reboot started", about="the reboot is meant, not sent"),
    Case("repair_primary-after-the-reboot", "warm_pool", CRASH, answer="reboot", about="the reboot was sent, its answer is lost"),
    Case("repair_primary-given-up", "both", CRASH_FOR_GOOD, "check_standby started", about="the reboot did not help, the next rung has begun"),
    Case("warm_pool-before-the-fence", "warm_pool", ASKED, "fence_primary started", about="the stop of a living primary is meant, not sent"),
    Case("warm_pool-after-the-fence", "warm_pool", ASKED, answer="stop", about="the stop was sent, its answer is lost"),
    Case("warm_pool-fenced", "warm_pool", ASKED, "fence_primary done", about="the fence is proved, the standby not yet started"),
    Case("warm_pool-after-the-start", "warm_pool", CRASH_FOR_GOOD, answer="start", about="the standby was started, the answer is lost"),
    Case("warm_pool-before-the-hand-over", "warm_pool", CRASH_FOR_GOOD, "hand_over started", about="everything is done but the hand-over"),
    Case("warm_pool-debts", "warm_pool", CRASH_FOR_GOOD, "ended", about="handed over; the old instance and a new standby are owed"),
    Case("warm_pool-cancelled", "warm_pool", ASKED, "start_standby undo_started", cancel_at="await_running waiting", about="cancelled by an operator; the undo has begun"),
    Case("warm_pool-cancelled-debts", "warm_pool", ASKED, "ended", cancel_at="await_running waiting", about="cancelled and undone; the start of the primary is owed"),
    Case("warm_pool_alone-before-the-fence", "warm_pool", CRASH_FOR_GOOD, "fence_primary started", sharing="refused", about="the end of the old instance is meant, not sent"),
    Case("warm_pool_alone-after-the-fence", "warm_pool", CRASH_FOR_GOOD, answer="destroy", sharing="refused", about="the old instance was destroyed, the answer is lost"),
    Case("warm_pool_alone-released", "warm_pool", ASKED, "await_release done", sharing="refused", about="past the point of no return, nothing is rented yet"),
    Case("warm_pool_alone-claimed", "warm_pool", CRASH_FOR_GOOD, "rent_candidate claimed", sharing="refused", about="the rental is claimed, not sent"),
    Case("warm_pool_alone-rented", "warm_pool", CRASH_FOR_GOOD, answer="create", sharing="refused", about="the rental was sent, its answer is lost"),
    Case("cpu_standby-before-the-fence", "cpu_standby", ASKED, "fence_primary started", about="the stop of a living primary is meant, not sent"),
    Case("cpu_standby-claimed", "cpu_standby", DIES, "rent_candidate claimed", about="a candidate is claimed, not sent"),
    Case("cpu_standby-rented", "cpu_standby", DIES, answer="create", about="a candidate was rented, its answer is lost"),
    Case("cpu_standby-restoring", "cpu_standby", DIES, "restore waiting", about="the snapshot is on its way"),
    Case("cpu_standby-before-the-hand-over", "cpu_standby", DIES, "hand_over started", about="everything is done but the hand-over"),
    Case("cpu_standby-cancelled", "cpu_standby", ASKED, "rent_candidate undo_started", cancel_at="restore waiting", about="cancelled by an operator; the candidates are to go"),
    Case("cpu_standby-debts", "cpu_standby", DIES, "ended", about="handed over; the old instance on its dead host is owed"),
    Case("both-second-rung-claimed", "both", DIES, "rent_candidate claimed", about="the warm pool gave up, a candidate is claimed"),
    Case("both-second-rung-restoring", "both", DIES, "restore waiting", about="the warm pool gave up, the snapshot is on its way"),
    Case("both-second-rung-debts", "both", DIES, "ended", about="handed over; instance, standby and volume of the dead host are owed"),
)  # fmt: skip
