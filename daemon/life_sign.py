"""Who watches the watcher: an address elsewhere is fetched while the control loop works, and its silence is the alarm."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from adapters.notify import Ping
from daemon.api.services import Check
from machines.errors import NotYet
from machines.ports import Clock

log = structlog.get_logger(__name__)

EVERY_S = 60.0
_TIMEOUT_REAL_S = 20.0


class LifeSign:
    def __init__(self, ping: Ping | None, health: Callable[[], Mapping[str, Check | str]], clock: Clock) -> None:
        self.ping = ping
        """None: nobody elsewhere watches."""
        self._health = health
        self._clock = clock
        self._is_silent = False

    async def give(self) -> None:
        """One line when it goes unheard, one when it is heard again."""
        if self.ping is None:
            return
        stuck = [c.detail for c in self._health().values() if isinstance(c, Check) and c.vital and not c.ok]
        why = stuck[0] if stuck else await self._beat(self.ping)
        if why is not None and not self._is_silent:
            log.warning("life_sign_not_given", because=why, effect="whoever watches this daemon will call")
        if why is None and self._is_silent:
            log.info("life_sign_given_again")
        self._is_silent = why is not None

    async def _beat(self, ping: Ping) -> str | None:
        try:
            await self._clock.wait_for(ping.beat(), self._clock.real(_TIMEOUT_REAL_S))
        except TimeoutError:
            return f"no answer within {_TIMEOUT_REAL_S:g} s"
        except NotYet as error:
            return error.why
        return None
