"""The one command plane behind every door: the same rules, the same journal, the same answers.

A command is a row with a unique id. Whichever door it came through, it is validated, admitted and bound to its
failover in one transaction, and answered when that failover ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, assert_never

import msgspec
import structlog

from adapters.sql.executor import Store
from adapters.sql.records import CommandRow, FailoverRecord
from adapters.sql.tx import Tx
from daemon import regional
from daemon.aftermath import acknowledge, repeated
from daemon.announce import Announcer
from daemon.asked import (
    Accepted,
    Asked,
    expiry,
    failover_request,
    fingerprint,
    is_other_body,
    problem_of,
    refusal_of,
    row_of,
)
from daemon.cancel import to_be_cancelled
from daemon.changes import SUSPENDED
from daemon.loop import Loop
from daemon.policy_desk import PolicyDesk, wanted_values
from daemon.registry import Registry
from events.schema import CommandResult
from machines.admission import Admission, Delayed, Denied, Granted, Pause
from machines.failover import CancelAsked
from machines.model import FailoverId, Machine, MachineId, Rest, Setting, Wishes
from machines.policy import Said
from machines.ports import Clock, Random
from machines.problems import Problem, invalid, unknown_machine

log = structlog.get_logger(__name__)

KINDS = (
    "failover",
    "drill",
    "cancel",
    "retry",
    "ack",
    "pause",
    "resume",
    "register_machine",
    "remove_machine",
    "set_policy",
    "create_volume",
)
_OF_NO_MACHINE = ("pause", "resume", "create_volume", "set_policy", "ack")
"""Without a machine, a pause and a policy are the whole fleet's."""


class _TakenBefore(Exception):
    """Another request under the same id was faster."""


class Commands:
    """Validates, admits, binds and answers."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        registry: Registry,
        announcer: Announcer,
        clock: Clock,
        random: Random,
        desk: PolicyDesk,
    ) -> None:
        self._desk = desk
        self._store = store
        self._loop = loop
        self._registry = registry
        self._announcer = announcer
        self._clock = clock
        self._random = random
        self.on_asked: Callable[[Asked, str], object] = lambda asked, outcome: None
        """Hears of every command: accepted, refused or repeated."""

    async def submit(self, asked: Asked) -> Accepted:
        """Take the command once. Raise Problem where it is refused; the refusal is stored as its answer."""
        command = asked.command
        if command.command_id is None:
            command = msgspec.structs.replace(command, command_id=f"c_{self._random.token(16)}")
            asked = replace(asked, command=command)
        known = await self._known(asked)
        if known is not None:
            self.on_asked(asked, "repeated")
            return known
        try:
            self._check(asked)
            accepted = await self._execute(asked)
        except Problem as problem:
            self.on_asked(asked, "refused")
            await self.refuse(asked, problem)
            raise
        self.on_asked(asked, "accepted")
        return accepted

    async def _known(self, asked: Asked) -> Accepted | None:
        """A command id that was taken before has its old answer; another body under it is refused."""
        command_id = asked.command.command_id or ""
        row = await self._store.transact(lambda tx: tx.command(command_id))
        if row is None:
            return None
        if row.fingerprint != fingerprint(asked.command) or is_other_body(row, asked):
            raise Problem(
                422,
                "idempotency_key_reused",
                f"the id {command_id} was used for another command",
                "use a new id for a new command",
            )
        if row.status == "refused":
            raise problem_of(row)
        return Accepted(command_id, row.failover_id, row.answer, row.http_status or 200)

    def _check(self, asked: Asked) -> None:
        command = asked.command
        if command.command not in KINDS:
            raise invalid("command", command.command, "one of " + ", ".join(KINDS))
        expires = expiry(command, asked.issued_at)
        if expires < self._clock.now():
            raise Problem(
                409,
                "expired",
                f"the command expired at {expires.isoformat()}",
                "send it again if it is still wanted; expires_at sets its life",
            )
        if command.command not in _OF_NO_MACHINE and command.machine_id is None:
            raise invalid("machine_id", None, "the machine's number")

    async def _execute(self, asked: Asked) -> Accepted:
        match asked.command.command:
            case "failover" | "drill" | "retry":
                return await self._failover(asked)
            case "cancel":
                return await self._cancel(asked)
            case "pause" | "resume":
                return await self._pause(asked)
            case "ack":
                return await self._finish(asked, lambda tx: acknowledge(tx, asked, self._clock.now()))
            case "set_policy":
                return await self._policy(asked)
            case "create_volume":
                return await self._volume(asked)
            case _:
                return await self._registration(asked)

    # -- failovers

    async def _failover(self, asked: Asked) -> Accepted:
        machine_id = MachineId(asked.command.machine_id or 0)
        if asked.command.command == "retry":
            request = await self._store.transact(
                lambda tx: repeated(tx, machine_id, asked.command, failover_request(asked))
            )
        else:
            request = replace(failover_request(asked), wishes=await self._wishes(asked, machine_id))
        bound: list[FailoverId] = []

        def also(tx: Tx, admission: Admission, machine: Machine | None) -> None:
            bound.clear()
            assert machine is not None
            twin = tx.command(asked.command.command_id or "")
            if twin is not None:
                raise _TakenBefore  # It came through twice at once; whatever this transaction did is rolled back.
            match admission:
                case Granted():
                    assert machine.failover is not None
                    bound.append(machine.failover.id)
                case Denied(code="failover_in_progress") if self._is_answered_by(machine, asked):
                    assert machine.failover is not None
                    bound.append(machine.failover.id)
                case Denied() | Delayed():
                    raise refusal_of(admission, machine)
                case _:
                    assert_never(admission)
            tx.insert_command(row_of(asked, bound[0]))

        try:
            admission = await self._loop.request_admission(machine_id, request, also)
        except _TakenBefore:
            known = await self._known(asked)
            assert known is not None
            return known
        if admission is None:
            raise unknown_machine(machine_id)
        log.info(
            "command_accepted", command=asked.command.command, machine=machine_id, door=asked.door, by=asked.asked_by
        )
        return Accepted(asked.command.command_id or "", bound[0], None, 202)

    async def _wishes(self, asked: Asked, machine_id: MachineId) -> Wishes | None:
        """What a failover by regional volume is told. Raise Problem."""
        given = asked.command.arguments.get("regional_volume")
        if given is None:
            return None
        if asked.command.strategy != Setting.REGIONAL_VOLUME.value:
            raise invalid("strategy", asked.command.strategy, "regional_volume, beside arguments.regional_volume")
        wanted = regional.parse_wishes(given)

        def read(tx: Tx) -> Wishes:
            machine = tx.machine(machine_id)
            if machine is None:
                raise unknown_machine(machine_id)
            return regional.wishes_of(tx, machine, wanted)

        return await self._store.transact(read)

    @staticmethod
    def _is_answered_by(machine: Machine, asked: Asked) -> bool:
        """A record from the log may be late: a failover that began after it was written is its answer."""
        running = machine.failover
        return asked.door == "kafka" and running is not None and running.started_at >= asked.issued_at

    async def wait(self, failover: FailoverId, seconds: float | None = None) -> FailoverRecord | None:
        """Until the failover has ended, or the (scaled) seconds are over; None for an unknown one.

        A client that goes away changes nothing: the failover runs in the runner.
        """
        deadline = None if seconds is None else self._clock.monotonic() + seconds
        ended = self._loop.ended(failover)
        while True:
            record = await self._store.transact(lambda tx: tx.failover(failover))
            if record is None or record.ended_at is not None:
                return record
            left = self._clock.real(1.0) if deadline is None else deadline - self._clock.monotonic()
            if left <= 0:
                return record
            try:
                await self._clock.wait_for(ended.wait(), min(left, self._clock.real(1.0)))
            except TimeoutError:
                continue

    async def _cancel(self, asked: Asked) -> Accepted:
        """Ask the running failover to unwind; the failover's own end is the answer. The command is taken in the
        transaction that asks for it: what is repeated after an outage, or meets the failover's end, has one effect or none."""
        machine_id, bound = MachineId(asked.command.machine_id or 0), list[FailoverId]()

        def choose(tx: Tx, machine: Machine) -> CancelAsked:
            bound[:] = [to_be_cancelled(tx, machine, asked.command.arguments.get("failover_id"))]
            _, is_new = tx.insert_command(row_of(asked, bound[0]))
            if not is_new:
                raise _TakenBefore
            return CancelAsked(bound[0])

        try:
            saved = await self._loop.apply_chosen(machine_id, choose)
        except _TakenBefore:
            known = await self._known(asked)
            assert known is not None
            return known
        if saved is None:
            raise unknown_machine(machine_id)
        return Accepted(asked.command.command_id or "", bound[0], None, 202)

    # -- regional volumes

    async def _volume(self, asked: Asked) -> Accepted:
        """A volume is made by a debt, whose end is the answer."""
        wanted, row = regional.parse_new_volume(asked.command.arguments), row_of(asked, None)

        def work(tx: Tx) -> None:
            _, is_new = tx.insert_command(row)
            if not is_new:
                raise _TakenBefore
            regional.begin_volume(tx, wanted, row.command_id, self._clock.now())

        try:
            await self._store.transact(work)
        except _TakenBefore:
            known = await self._known(asked)
            assert known is not None
            return known
        return Accepted(row.command_id, None, None, 202)

    async def answer_to(self, command_id: str, seconds: float | None = None) -> CommandRow | None:
        """The command once it is answered, or as it stands when the (scaled) seconds are over; None for an unknown one."""
        deadline = None if seconds is None else self._clock.monotonic() + seconds
        while True:
            row = await self._store.transact(lambda tx: tx.command(command_id))
            if row is None or row.answered_at is not None:
                return row
            nap = self._clock.real(0.5)
            left = nap if deadline is None else deadline - self._clock.monotonic()
            if left <= 0:
                return row
            await self._clock.sleep(min(left, nap))

    # -- pause, registration

    async def _pause(self, asked: Asked) -> Accepted:
        pause = None
        if asked.command.command == "pause":
            minutes = asked.command.arguments.get("minutes")
            if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not 0 < minutes <= 7 * 24 * 60:
                raise invalid("arguments.minutes", minutes, "a number of minutes from 1 to 10080 (a week)")
            if not asked.command.reason:
                raise invalid("reason", asked.command.reason, "a sentence that says why automatic failover is paused")
            until = self._clock.now() + timedelta(minutes=minutes)
            pause = Pause(asked.command.reason, until, asked.asked_by)
        if asked.command.machine_id is not None:
            return await self._rest(asked, MachineId(asked.command.machine_id), pause)
        now = self._clock.now()

        def work(tx: Tx) -> dict[str, Any]:
            if pause is not None:
                tx.set_pause(pause)
            else:
                tx.lift_pause(now)
                tx.resolve_alert(SUSPENDED, now)
            return {"paused_until": pause.until.isoformat() if pause else None}

        return await self._finish(asked, work)

    async def _rest(self, asked: Asked, machine_id: MachineId, pause: Pause | None) -> Accepted:
        """The same of one machine alone."""
        rest = None if pause is None else Rest(pause.reason, pause.until, pause.by)
        changed: list[Machine] = []

        def work(tx: Tx) -> dict[str, Any]:
            changed[:] = [self._registry.rest(tx, machine_id, rest)]
            return {"machine_id": machine_id, "paused_until": rest.until.isoformat() if rest else None}

        accepted = await self._finish(asked, work)
        self._desk.follow(changed)
        return accepted

    async def _policy(self, asked: Asked) -> Accepted:
        """Of one machine where the command names one, else of the fleet. What is not named stays."""
        command, said, changed = asked.command, list[Said](), list[Machine]()
        values = dict(command.arguments)
        if command.strategy is not None:
            values.setdefault("strategy", command.strategy)
        values = wanted_values(values)

        def work(tx: Tx) -> dict[str, Any]:
            if command.machine_id is None:
                now_said, machines = self._desk.change_fleet(tx, values, asked.asked_by)
                said[:], changed[:] = [now_said], machines
                return {"changed": sorted(values)}
            changed[:] = [self._desk.change_machine(tx, MachineId(command.machine_id), values)]
            return {"changed": sorted(values), "machine_id": command.machine_id, "version": changed[0].version}

        accepted = await self._finish(asked, work)
        self._desk.follow(changed, said[0] if said else None)
        return accepted

    async def _registration(self, asked: Asked) -> Accepted:
        command = asked.command
        machine_id = MachineId(command.machine_id or 0)
        match command.command:
            case "remove_machine":
                accepted = await self._finish(asked, partial(self._removed, machine_id))
                self._loop.forget(machine_id)
                return accepted
            case _:
                body = dict(command.arguments)
                if command.gpu_instance_id is not None:
                    body.setdefault("gpu_instance_id", command.gpu_instance_id)
                if command.strategy is not None:
                    body.setdefault("strategy", command.strategy)
                machine = await self._registry.put(machine_id, body, asked.asked_by)
                return await self._finish(asked, lambda tx: {"machine_id": machine.id, "version": machine.version})

    def _removed(self, machine_id: MachineId, tx: Tx) -> dict[str, Any]:
        self._registry.take_away(tx, machine_id)
        return {"machine_id": machine_id, "removed": True}

    async def _finish(self, asked: Asked, work: Callable[[Tx], dict[str, Any]]) -> Accepted:
        """Effect and answer, which `work` gives, in one transaction."""
        now = self._clock.now()
        row = row_of(asked, None)

        def save(tx: Tx) -> dict[str, Any]:
            _, is_new = tx.insert_command(row)
            if not is_new:
                raise _TakenBefore
            answer = work(tx)
            tx.answer_command(row.command_id, "succeeded", answer, 200, now)
            result = CommandResult(row.command_id, row.command, row.machine_id, "succeeded", result=answer)
            tx.post((self._announcer.result(result, now),))
            return answer

        try:
            answer = await self._store.transact(save)
        except _TakenBefore:
            known = await self._known(asked)
            assert known is not None
            return known
        return Accepted(row.command_id, None, answer, 200)

    async def refuse(self, asked: Asked, problem: Problem) -> None:
        """A refusal is an answer too: stored under the id, and told on the results topic. An id that was taken before
        keeps its answer, and nothing is told again."""
        now = self._clock.now()
        row = replace(row_of(asked, None), status="refused")
        answer = {"code": problem.code, "detail": problem.detail, "remedy": problem.remedy, **problem.extra}
        result = CommandResult(
            row.command_id,
            row.command,
            row.machine_id,
            "refused",
            code=problem.code,
            detail=problem.detail,
            remedy=problem.remedy,
        )

        def save(tx: Tx) -> None:
            _, is_new = tx.insert_command(row)
            if is_new:
                tx.answer_command(row.command_id, "refused", answer, problem.status, now)
                tx.post((self._announcer.result(result, now),))

        await self._store.transact(save)
        log.info("command_refused", command=row.command, machine=row.machine_id, code=problem.code, door=asked.door)
