"""What the bearer of a token may do: the scopes, and which covers which."""

from __future__ import annotations

from enum import Enum


class Scope(Enum):
    """`read` < `operate` < `admin`; apart from these `beat`, which is bound to one machine."""

    BEAT = "beat"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        """Who operates may also beat, in place of any machine; who reads may not, since a heartbeat changes things."""
        return needed in _COVERED[self]


_COVERED = {
    Scope.BEAT: (Scope.BEAT,),
    Scope.READ: (Scope.READ,),
    Scope.OPERATE: (Scope.BEAT, Scope.READ, Scope.OPERATE),
    Scope.ADMIN: tuple(Scope),
}
