"""What can go wrong in the domain, as a tree that callers match on.

FailoverdError
├── StepError               a step did not come to its end; the journal says what happens next
│   ├── NotYet(delay)       nothing is wrong: look again after the delay
│   │   └── KeyNotAccepted  an SSH server does not know our key: the provider may put it there
│   ├── Refused(code)       the answer is no; the attempt unwinds
│   └── Unknown             the answer was lost: read back, never repeat blindly
├── IllegalTransition       the state table has no such edge; nothing was changed
├── Fenced                  somebody newer owns this machine; the actor ends quietly
├── Stale                   the row changed between read and write; read it again
└── LogUnavailable          the event log did not take or give records; an outage, never an answer
"""

from __future__ import annotations

from datetime import timedelta


class FailoverdError(Exception):
    """Everything that this project raises on purpose."""


class StepError(FailoverdError):
    """A step, an undo or an outside call did not come to its end."""


class NotYet(StepError):
    """It takes longer; ask again after `delay`."""

    def __init__(self, why: str, delay: timedelta) -> None:
        super().__init__(why)
        self.why = why
        self.delay = delay


class KeyNotAccepted(NotYet):
    """The SSH server answers and does not know our key yet, or was made before the account had it."""


class Refused(StepError):
    """The answer is no, for good; `code` is one of the contract's stable attempt codes."""

    def __init__(self, code: str, why: str, *, leaves_rental: bool = False) -> None:
        """`leaves_rental`: one came into being all the same, and that it ended is not proved yet."""
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why
        self.leaves_rental = leaves_rental


class Unknown(StepError):
    """The call may or may not have had its effect; resolve by reading back."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.is_outage = False
        """Whoever was asked answers nobody now: it says nothing of what was asked."""


class IllegalTransition(FailoverdError):
    """The state table has no edge for this (state, trigger)."""


class Fenced(FailoverdError):
    """An actor with an outdated fence number tried to act; it changed nothing."""


class Stale(FailoverdError):
    """Compare-and-swap missed: the machine's version moved on."""


class LogUnavailable(FailoverdError):
    """The event log is away."""
