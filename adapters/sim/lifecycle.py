"""How an instance lives: every change of state that the provider, the host or the market makes, at its time.

Two layers move apart on purpose: what is true (`is_up`) and what is shown (`actual`, `intended`, `current`). The rows
of facts/vast-api.md 9.2 are the specification, one method each.
"""

from collections.abc import Callable
from datetime import datetime

from adapters.sim.bills import Ledger
from adapters.sim.core import Booted, Core, Frozen, GpuBroken, Halted, SshOpened, Thawed, Wiped
from adapters.sim.hosts import OTHER_TENANT, Host
from adapters.sim.instances import Instance
from adapters.sim.offers import Market
from adapters.sim.weather import ERROR_TEXTS, DeadBoot
from adapters.sim.webhooks import Webhooks


class Lifecycle:
    """Moves instances; knows nothing of requests and answers."""

    def __init__(
        self, core: Core, market: Market, ledger: Ledger, instances: dict[int, Instance], webhooks: Webhooks
    ) -> None:
        self._webhooks = webhooks
        self._core, self._market, self._ledger, self._instances = core, market, ledger, instances
        self._settings = core.settings

    # -- boot ---------------------------------------------------------------------------------------------------

    def boot(self, instance: Instance, now: datetime) -> None:
        """A container that never ran: nothing is known, then it is created, loading, running."""
        settings = self._settings
        instance.plan += 1
        self._later(instance, now, settings.null_seconds, self._show_created)
        self._later(instance, now, settings.null_seconds + settings.created_seconds, self._show_loading)
        self._later(instance, now, settings.boot_seconds, self.run)
        self.meter(instance, now)

    def _show_created(self, instance: Instance, _now: datetime) -> None:
        instance.actual = "created"
        if instance.fate is not None:
            instance.status_msg = ERROR_TEXTS.get(instance.fate, instance.status_msg)

    def _show_loading(self, instance: Instance, _now: datetime) -> None:
        if instance.fate not in ERROR_TEXTS:
            instance.actual = "loading"
            instance.status_msg = f"Pulling from {instance.image}: 4f4fb700ef54: Downloading"

    def run(self, instance: Instance, now: datetime) -> None:
        """The container is up, on a new port; SSH answers later, and never where the boot is dead in that way."""
        if instance.fate in (DeadBoot.STUCK_LOADING, DeadBoot.STUCK_CREATED, DeadBoot.PORT_CLASH):
            return
        self._halt(instance)  # A resumed instance may not have ended yet.
        instance.actual, instance.status_msg = "running", f"success, running {instance.image}/ssh"
        instance.is_up, instance.has_booted, instance.is_crashed = True, True, False
        instance.started_at, instance.starts = now, instance.starts + 1
        instance.port = self._core.ports.renew(instance.id) if instance.has_body else self._core.ports.shared()
        self._core.emit(Booted(instance.id))
        if instance.fate is not DeadBoot.SSH_REFUSED and instance.runtype != "args":
            self._later(instance, now, self._settings.ssh_seconds, self.open_ssh)
        self.meter(instance, now)

    def open_ssh(self, instance: Instance, _now: datetime) -> None:
        instance.ssh_open = True
        self._core.emit(SshOpened(instance.id))

    # -- stop and start -----------------------------------------------------------------------------------------

    def stop(self, instance: Instance, now: datetime) -> None:
        """Intended at once, exited later. A queued start is taken back."""
        instance.is_waiting = False
        instance.intended = instance.upcoming = "stopped"
        if instance.current == "running":
            instance.current = "stopped"
            instance.plan += 1
            self._later(instance, now, self._settings.stop_seconds, self._exit)

    def _exit(self, instance: Instance, now: datetime) -> None:
        """The container has ended. If it was wanted again meanwhile, it is started again; else its GPU is free."""
        self._halt(instance)
        instance.actual, instance.is_crashed = "exited", False
        if instance.intended == "running":
            self._later(instance, now, self._settings.start_seconds, self.run)
        else:
            instance.host.give_up(instance.id)
            self.gpus_freed(instance.host, now)
        self.meter(instance, now)

    def start(self, instance: Instance, now: datetime) -> bool:
        """Start a stopped instance; False where its GPU is taken and the start stays queued (9.3)."""
        instance.intended = instance.upcoming = "running"
        if instance.current == "running":
            return True
        if instance.host.is_held_by(instance.id):
            instance.current = "running"  # Still stopping: `_exit` starts it again.
            return True
        if not instance.host.alive or not self._take_gpus(instance, now):
            instance.is_waiting = True
            return False
        self._come_up(instance, now, self._settings.start_seconds)
        return True

    def _come_up(self, instance: Instance, now: datetime, seconds: float) -> None:
        instance.is_waiting = False
        instance.intended = instance.current = instance.upcoming = "running"
        if instance.has_booted:
            instance.plan += 1
            self._later(instance, now, seconds, self.run)
            self.meter(instance, now)
        else:
            self.boot(instance, now)

    def _take_gpus(self, instance: Instance, now: datetime) -> bool:
        bid = None if instance.bid is None else instance.bid / instance.num_gpus
        outbid = instance.host.take(instance.id, instance.num_gpus, bid)
        if outbid is None:
            return False
        for loser in outbid:
            self.lose_gpu(self._instances[loser], now)
        self._market.relist(instance.host)
        return True

    def gpus_freed(self, host: Host, now: datetime) -> None:
        """Who waits longest is served first, a while after the GPU became free; the rest goes back to the market."""
        self._market.relist(host)
        self._core.after(now, self._settings.flip_seconds, lambda when: self._serve_queue(host, when))

    def _serve_queue(self, host: Host, now: datetime) -> None:
        if not host.alive:
            return
        waiting = [instance for instance in self._instances.values() if instance.host is host and instance.is_waiting]
        for instance in waiting:
            if self._take_gpus(instance, now):
                self._come_up(instance, now, self._settings.resume_seconds - self._settings.flip_seconds)

    def expire(self, instance: Instance, now: datetime) -> None:
        """The rental's end is reached: it stops for good, and may only be destroyed (9.2)."""
        if self._instances.get(instance.id) is instance:
            self.stop(instance, now)

    # -- preemption ---------------------------------------------------------------------------------------------

    def lose_gpu(self, instance: Instance, now: datetime, *, by_own_bid: bool = False) -> None:
        """Outbid: intended flips soon, exited follows, and the message stays "success, running" (9.2). Who lowers his own
        bid gets no webhook (12)."""
        if instance.is_bid and not by_own_bid:
            self._webhooks.tell(now, "outbid", f"Your Interruptible Instance #{instance.id} Has Been Outbid")
        instance.plan += 1
        instance.is_waiting = True
        self._later(instance, now, self._settings.outbid_seconds, self._flip)
        self._later(instance, now, self._settings.outbid_seconds + self._settings.stop_seconds, self._outbid_exit)

    def _flip(self, instance: Instance, _now: datetime) -> None:
        instance.intended = instance.current = instance.upcoming = "stopped"

    def _outbid_exit(self, instance: Instance, now: datetime) -> None:
        self._halt(instance)
        instance.actual = "exited"
        self.meter(instance, now)

    def preempt(self, instance: Instance, now: datetime, for_seconds: float | None) -> None:
        """Another tenant takes the GPU, and gives it back after a while (never, where no while is given)."""
        slots = [slot for slot in instance.host.slots if slot.holder == instance.id]
        for slot in slots:
            slot.holder, slot.bid = OTHER_TENANT, None
        self._market.relist(instance.host)
        self.lose_gpu(instance, now)
        if for_seconds is None:
            return

        def leave(when: datetime) -> None:
            for slot in slots:
                if slot.holder == OTHER_TENANT:
                    slot.holder, slot.bid = None, None
            self.gpus_freed(instance.host, when)

        self._core.after(now, for_seconds, leave)

    # -- faults of a container ----------------------------------------------------------------------------------

    def crash(self, instance: Instance, now: datetime, *, reboot_helps: bool) -> None:
        """Exited although running is intended; the GPU stays ours."""
        instance.plan += 1
        self._halt(instance)
        instance.actual, instance.is_crashed, instance.reboot_helps = "exited", True, reboot_helps
        self.meter(instance, now)

    def freeze(self, instance: Instance) -> None:
        if not instance.is_frozen:
            instance.is_frozen = True
            self._core.emit(Frozen(instance.id))

    def break_gpu(self, instance: Instance) -> None:
        self._core.emit(GpuBroken(instance.id))

    def thaw(self, instance: Instance) -> None:
        if instance.is_frozen:
            instance.is_frozen = False
            self._core.emit(Thawed(instance.id))

    def restart(self, instance: Instance, now: datetime, shown: str) -> None:
        """Reboot or recycle: the container goes down and comes up again, the GPU is kept."""
        instance.plan += 1
        self._halt(instance)
        instance.actual = shown
        if shown == "recycling":
            instance.reboot_helps = True
            self._core.emit(Wiped(instance.id))
        self._later(instance, now, self._settings.reboot_seconds, self._restarted)
        self.meter(instance, now)

    def _restarted(self, instance: Instance, now: datetime) -> None:
        if instance.is_crashed and not instance.reboot_helps:
            instance.actual = "exited"
        else:
            self.run(instance, now)

    # -- the host -----------------------------------------------------------------------------------------------

    def host_died(self, host: Host, now: datetime) -> None:
        """Power is gone: containers end at once, and what is shown stands still until the silence is noticed."""
        host.alive, host.died_at = False, now
        for instance in self._on(host):
            instance.plan += 1
            self._halt(instance, hard=True)
        self._core.after(now, self._settings.offline_seconds, lambda when: self._host_offline(host, when))

    def _host_offline(self, host: Host, now: datetime) -> None:
        for instance in self._on(host):
            self.meter(instance, now)

    def host_returned(self, host: Host, now: datetime) -> None:
        """The contracts survived: what is meant to run comes up by itself, whatever replaced it meanwhile."""
        host.alive, host.died_at = True, None
        for instance in self._on(host):
            if instance.intended == "running" and instance.current == "running":
                self._come_up(instance, now, self._settings.start_seconds)
            elif instance.intended == "stopped" and host.is_held_by(instance.id):
                instance.plan += 1
                self._exit(instance, now)
            self.meter(instance, now)
        self.gpus_freed(host, now)

    # -- shared -------------------------------------------------------------------------------------------------

    def end(self, instance: Instance, now: datetime) -> None:
        """Destroyed: the container ends, the GPU is free, the bill stops."""
        instance.plan += 1
        instance.is_waiting = False
        self._halt(instance)
        instance.host.give_up(instance.id)
        self._core.ports.release(instance.id)
        self._ledger.set_rate("gpu", instance.id, 0.0, now)
        self._ledger.set_rate("storage", instance.id, 0.0, now)
        self.gpus_freed(instance.host, now)

    def meter(self, instance: Instance, now: datetime) -> None:
        """Bring the meters in line with the state: no GPU before it runs, nothing at all while its host is offline."""
        offline = instance.host.seconds_silent(now) >= self._settings.offline_seconds
        uses_gpu = instance.is_up or instance.is_crashed or instance.actual in ("rebooting", "recycling")
        if instance.host.alive or offline:
            gpu = 0.0 if offline or not uses_gpu else instance.gpu_cost if instance.bid is None else instance.bid
            self._ledger.set_rate("gpu", instance.id, gpu, now)
        self._ledger.set_rate("storage", instance.id, 0.0 if offline else instance.storage_cost, now)

    def _halt(self, instance: Instance, *, hard: bool = False) -> None:
        instance.is_frozen = instance.ssh_open = False
        if instance.is_up:
            instance.is_up = False
            self._core.emit(Halted(instance.id, hard))

    def _on(self, host: Host) -> list[Instance]:
        return [instance for instance in self._instances.values() if instance.host is host]

    def _later(
        self, instance: Instance, now: datetime, seconds: float, action: Callable[[Instance, datetime], None]
    ) -> None:
        """Plan a change of one instance; it is dropped when the plan changes first."""
        plan = instance.plan

        def run(when: datetime) -> None:
            if instance.plan == plan and instance.host.alive:
                action(instance, when)

        self._core.after(now, seconds, run)
