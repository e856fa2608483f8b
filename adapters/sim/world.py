"""The simulated world: one provider's truth, from one seed, without IO and without a clock of its own.

    agenda --due events--> lifecycle --moves--> instances, hosts, volumes, snapshots, bills
    operations (each with `now`) ----^                 |
                                                       v effects
                                        an embodiment (files, sockets, processes), or nobody

Same seed, same calls, same world. `advance(now)` does what is due; whoever drives the world calls it before an
operation and whenever `next_due` has come.
"""

from collections.abc import Callable
from datetime import datetime

from adapters.sim.account import Account
from adapters.sim.bills import Ledger
from adapters.sim.compute import Compute
from adapters.sim.core import Core, Effect, NumberedPorts, PortSource
from adapters.sim.faults import FaultBoard
from adapters.sim.hosts import Host
from adapters.sim.instances import Instance
from adapters.sim.limits import RateLimits
from adapters.sim.logs import LogShelf
from adapters.sim.offers import Market
from adapters.sim.rentals import Rentals
from adapters.sim.settings import WorldSettings
from adapters.sim.snapshots import SnapshotKeeper
from adapters.sim.volumes import VolumeShelf
from adapters.sim.webhooks import Webhooks


class World:
    """Hosts, offers, instances, volumes, snapshots, prices and bills, and what may go wrong with them."""

    def __init__(
        self,
        seed: int,
        settings: WorldSettings,
        start: datetime,
        *,
        ports: PortSource | None = None,
        has_body: bool = False,
    ) -> None:
        self.core = Core(seed, settings, start, ports or NumberedPorts())
        self.settings = settings
        self.now = start
        self.ledger = Ledger(settings.credit)
        self.account = Account(self.ledger)
        self.market = Market(self.core, lambda: self.rentals.rented_hosts())
        self.volumes = VolumeShelf(self.core, self.market, self.ledger)
        self.webhooks = Webhooks(self.core)
        self.rentals = Rentals(self.core, self.market, self.volumes, self.ledger, self.account, self.webhooks)
        self.snapshots = SnapshotKeeper(self.core, self.rentals.instances, has_body)
        self.compute = Compute(self.core)
        self.logs = LogShelf()
        self.limits = RateLimits(settings)
        self.faults = FaultBoard(seed)
        self.snapshots.begin(start)

    @property
    def hosts(self) -> dict[int, Host]:
        return self.market.land.hosts

    @property
    def instances(self) -> dict[int, Instance]:
        return self.rentals.instances

    def advance(self, now: datetime) -> None:
        """Do everything that is due by `now`. Time never runs back: an earlier `now` changes nothing."""
        self.core.agenda.run_until(now)
        self.now = max(self.now, now)

    def next_due(self) -> datetime | None:
        return self.core.agenda.next_due()

    def drain(self) -> list[Effect]:
        """The effects since the last call, in their order; whoever embodies the world carries them out."""
        effects = list(self.core.effects)
        self.core.effects.clear()
        return effects

    # -- what happens to the world from outside -----------------------------------------------------------------

    def kill_host(self, host: Host, now: datetime) -> None:
        """Power fails on one machine. Its volumes are billed until the provider shows it as offline."""
        if host.alive:
            self.rentals.lifecycle.host_died(host, now)
            self.core.after(now, self.settings.offline_seconds, lambda when: self.volumes.meter_host(host, when))

    def revive_host(self, host: Host, now: datetime) -> None:
        if not host.alive:
            self.rentals.lifecycle.host_returned(host, now)
            self.volumes.meter_host(host, now)

    def set_credit(self, credit: float, now: datetime) -> None:
        """Set what is left of the prepaid credit; at zero every instance is stopped at once (13, trap 5)."""
        self.ledger.credit = credit + self.ledger.total(now)
        if credit <= 0:
            self.webhooks.tell(now, "low_credit", "Your Credit Is Used Up")
            self._each(lambda instance: self.rentals.lifecycle.stop(instance, now))

    def _each(self, act: Callable[[Instance], None]) -> None:
        for instance in list(self.instances.values()):
            act(instance)
