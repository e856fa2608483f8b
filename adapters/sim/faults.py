"""Faults on order: which calls go wrong, how, how often and for how long (facts/vast-api.md 14.4)."""

import random  # noqa: TID251 - seeded: a generator of its own, so that faults do not shift the world's other draws
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from adapters.sim.answers import Answer, bad_key

LISTS = ("instances", "offers", "volumes", "results")


class FaultKind(Enum):
    STATUS = "status"
    """Answers a status without any effect."""
    STATUS_AFTER = "status_after"
    """The effect happens, and the answer is an error all the same."""
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    """The effect happens, and the answer is never sent."""
    LATENCY = "latency"
    EMPTY_LIST = "empty_list"
    PARTIAL_LIST = "partial_list"
    AUTH_ERROR = "auth_error"
    MALFORMED = "malformed"
    UNREACHABLE = "unreachable"
    """No connection: nothing was sent."""
    WRONG_ID = "wrong_id"
    """A good answer about something else."""
    LATER = "later"
    """Accepted, and done only after so many seconds."""


@dataclass(slots=True)
class Fault:
    """One order. It is used up by its count, by its end, or never."""

    kind: FaultKind
    endpoint: str = "*"
    method: str | None = None
    status: int = 503
    body: Any = None
    seconds: float = 0.0
    probability: float = 1.0
    count: int | None = None
    skip: int = 0
    """So many calls that it could meet pass first."""
    ends_at: datetime | None = None
    hits: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    def is_over(self, now: datetime) -> bool:
        return self.count == 0 or (self.ends_at is not None and now >= self.ends_at)

    def matches(self, method: str, path: str, operation: str) -> bool:
        """The endpoint is an operation's name or a pattern over the path, with or without its last slash."""
        named = self.endpoint == operation
        return (self.method in (None, method)) and (
            named or fnmatchcase(path, self.endpoint) or fnmatchcase(path + "/", self.endpoint)
        )

    def answer(self) -> Answer:
        if self.kind is FaultKind.AUTH_ERROR:
            return bad_key()
        text = f"Something went wrong on the server ({self.status})"
        body = self.body or {"success": False, "error": "server_error", "msg": text}
        return Answer(body, self.status, self.headers)

    def spoil(self, answer: Answer) -> Answer:
        """What is left of a good answer."""
        if self.kind is FaultKind.MALFORMED:
            return Answer("<html><body>502 Bad Gateway</body></html>", 200)
        if not isinstance(answer.body, Mapping):
            return answer
        if self.kind is FaultKind.WRONG_ID:
            return Answer(_of_another(answer.body), answer.status, answer.headers)
        body = dict(answer.body)
        for name in LISTS:
            rows = body.get(name)
            if isinstance(rows, list):
                body[name] = [] if self.kind is FaultKind.EMPTY_LIST else rows[: len(rows) // 2]
                if "instances_found" in body:
                    body.update(instances_found=len(body[name]), next_token=None)
                if "total_instances" in body and self.kind is FaultKind.EMPTY_LIST:
                    body.update(total_instances=0, label_counts={})
        return Answer(body, answer.status, answer.headers)


def _of_another(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same answer with the ids of things that are not there."""
    wrong = dict(body)
    if isinstance(wrong.get("new_contract"), int):
        wrong["new_contract"] += _ELSEWHERE
    for name in LISTS:
        rows = wrong.get(name)
        if isinstance(rows, Mapping):
            wrong[name] = {**rows, "id": rows.get("id", 0) + _ELSEWHERE}
        elif isinstance(rows, list):
            wrong[name] = [{**row, "id": row.get("id", 0) + _ELSEWHERE} for row in rows]
    return wrong


_ELSEWHERE = 9_000_000


@dataclass(slots=True)
class FaultBoard:
    """All orders, the oldest first; each call meets at most one."""

    seed: int
    faults: list[Fault] = field(default_factory=list)
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def order(self, fault: Fault, now: datetime, for_seconds: float | None) -> None:
        fault.ends_at = None if for_seconds is None else now + timedelta(seconds=for_seconds)
        self.faults.append(fault)

    def meet(self, now: datetime, method: str, path: str, operation: str) -> Fault | None:
        """The fault that this call meets, which is thereby used once."""
        self.faults = [fault for fault in self.faults if not fault.is_over(now)]
        for fault in self.faults:
            if not fault.matches(method, path, operation):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if self._rng.random() < fault.probability:
                fault.hits += 1
                if fault.count is not None:
                    fault.count -= 1
                return fault
        return None

    def clear(self) -> None:
        self.faults.clear()
