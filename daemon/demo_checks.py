"""What must be true of the provider's world, whatever the daemon believes. Pure: truth and looks in, verdicts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.demo_stage import Cast
from daemon.demo_watch import Look
from machines.model import DebtKind, MachineId
from machines.states import State

SERVING = (State.HEALTHY, State.RECOVERED)


@dataclass(frozen=True, slots=True)
class Check:
    """One claim about the demo, and what was found."""

    name: str
    ok: bool
    detail: str


def unclaimed(before: Look, truth: Mapping[str, Any], after: Look) -> list[int]:
    """Rentals in the world that neither look explains: what was rented or paid between two looks counts as explained."""
    looks = (before.explained(), after.explained())
    instances = looks[0][0] | looks[1][0]
    labels = looks[0][1] | looks[1][1]
    return [row["id"] for row in truth["instances"] if row["id"] not in instances and row["label"] not in labels]


def is_recovered(person: Cast, look: Look) -> bool:
    """The machine serves, on another instance than the one that died, and is in no failover."""
    machine = look.machines[person.id]
    return machine.state in SERVING and machine.failover is None and machine.primary != person.instance


def is_over(killed: Sequence[Cast], look: Look) -> bool:
    """Everything that was begun has come to its end, good or bad, and nothing is owed."""
    ended = all(is_recovered(one, look) or look.machines[one.id].state is State.FAILED for one in killed)
    return ended and not look.running() and not look.owed()


def check_all(
    everybody: Sequence[Cast],
    killed: Sequence[Cast],
    truth: Mapping[str, Any],
    look: Look,
    seen_unclaimed: Mapping[int, str],
    lost_work: Sequence[str],
) -> list[Check]:
    """`seen_unclaimed` are rentals that were unexplained at some time; `lost_work` names machines without their files."""
    return [
        _one_serving_instance(everybody, truth, look),
        _nothing_unclaimed(truth, look, seen_unclaimed),
        _every_killed_machine_recovered(killed, look),
        _no_false_failover(everybody, killed, look),
        Check("work_survived", not lost_work, ", ".join(lost_work) or "every machine's files are on its instance"),
    ]


def _one_serving_instance(everybody: Sequence[Cast], truth: Mapping[str, Any], look: Look) -> Check:
    wrong = []
    for one in everybody:
        primary = look.machines[one.id].primary
        serving = _serving(one.id, truth)
        if [row["id"] for row in serving] != [primary]:
            wrong.append(f"{one.name}: primary {primary}, serving {[row['id'] for row in serving]}")
        elif serving[0]["agents"] != 1:
            wrong.append(f"{one.name}: {serving[0]['agents']} agents on instance {primary}")
    return Check("one_serving_instance_per_machine", not wrong, "; ".join(wrong) or "one each, with one agent")


def _serving(machine: MachineId, truth: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    named = str(machine)
    return [row for row in truth["instances"] if row["serving"] and row["env"].get("FAILOVERD_MACHINE_ID") == named]


def _nothing_unclaimed(truth: Mapping[str, Any], look: Look, seen: Mapping[int, str]) -> Check:
    """At no time a rental that nothing explains; at the end none but primaries, standbys, their volumes and those that are kept
    for what is newer on them, no debt."""
    machines = look.machines.values()
    claimed = {machine.primary for machine in machines}
    claimed |= {machine.standby.instance for machine in machines if machine.standby is not None}
    left = [row["id"] for row in truth["instances"] if row["id"] not in claimed]
    mounted = {machine.volume.id for machine in machines if machine.volume is not None}
    kept = {debt.volume for debt in look.debts if debt.kind is DebtKind.KEEP_VOLUME}
    volumes = [row["id"] for row in truth["volumes"] if row["id"] not in mounted | kept]
    wrong = [f"unexplained: instance {number} ({why})" for number, why in seen.items()]
    wrong += [f"left over at the end: instances {left}"] if left else []
    wrong += [f"left over at the end: volumes {volumes}"] if volumes else []
    wrong += [f"{len(look.owed())} debts are open"] if look.owed() else []
    return Check(
        "nothing_unclaimed", not wrong, "; ".join(wrong) or "every rental was accounted for, none is left over"
    )


def _every_killed_machine_recovered(killed: Sequence[Cast], look: Look) -> Check:
    missing = [f"{one.name} is {look.machines[one.id].state.value}" for one in killed if not is_recovered(one, look)]
    detail = "; ".join(missing) or f"{len(killed)} of {len(killed)}"
    return Check("every_killed_machine_recovered", not missing, detail)


def _no_false_failover(everybody: Sequence[Cast], killed: Sequence[Cast], look: Look) -> Check:
    """One failover for each machine that died, and none for the living."""
    dead = {one.id for one in killed}
    wrong = []
    for one in everybody:
        count, wanted = len(look.failovers_of(one.id)), int(one.id in dead)
        if count > wanted:
            wrong.append(f"{one.name} had {count} failovers, {wanted} expected")
    return Check("no_false_failover", not wrong, "; ".join(wrong) or "only the dead were failed over, once each")
