"""The operations on instances as the API offers them: what is asked, refused and answered (facts/vast-api.md 3 to 5)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from adapters.sim.account import Account
from adapters.sim.answers import Answer, failure, no_such_ask, no_such_instance, success
from adapters.sim.bills import Ledger
from adapters.sim.core import Core, Created, Erased
from adapters.sim.hosts import Host
from adapters.sim.instances import Instance, Mount, Wanted, instance_row
from adapters.sim.lifecycle import Lifecycle
from adapters.sim.offers import Ask, Market
from adapters.sim.rental_request import NewVolume, RentalRequest, read_request
from adapters.sim.volumes import VolumeShelf, volume_brief
from adapters.sim.weather import draw_boot, draw_offer_gone
from adapters.sim.webhooks import Webhooks

QUEUED = "Required resources are currently unavailable, state change queued."
MANY = 64


class Rentals:
    """Every operation takes the time of the call, and answers as the provider would."""

    def __init__(
        self,
        core: Core,
        market: Market,
        volumes: VolumeShelf,
        ledger: Ledger,
        account: Account,
        webhooks: Webhooks,
    ) -> None:
        self._core, self._market, self._volumes = core, market, volumes
        self._ledger, self._account = ledger, account
        self._next_id = 7000
        self.instances: dict[int, Instance] = {}
        self.lifecycle = Lifecycle(core, market, ledger, self.instances, webhooks)

    def rented_hosts(self) -> set[int]:
        return {instance.host.machine_id for instance in self.instances.values()}

    # -- create -------------------------------------------------------------------------------------------------

    def create(self, now: datetime, ask_id: int, body: Mapping[str, Any]) -> Answer:
        """`PUT /asks/{id}/`. A `success:false` with `new_contract` has made an instance that bills its disk."""
        request = read_request(body)
        if isinstance(request, Answer):
            return request
        if self._ledger.balance(now) <= 0:
            return failure(400, "insufficient_credit", "You lack credit, see the billing page.")
        ask = self._market.asks.get(ask_id)
        if ask is None:
            return no_such_ask(ask_id)
        refusal = self._refuse_volumes(request, ask.host)
        if refusal is not None:
            return refusal
        gone = draw_offer_gone(self._core.rng, self._core.settings.weather)
        if gone is not None:
            self._market.snatch(ask, now)
            return no_such_ask(ask_id, gone) if request.cancels_unavailable else self._stopped(ask, request, now)
        return self._rent(ask, request, now)

    def _refuse_volumes(self, request: RentalRequest, host: Host) -> Answer | None:
        if request.new_volume is not None and request.new_volume.ask_id != host.volume_ask_id:
            return failure(400, "invalid_args", "error 400/3467: Invalid args: volume offer is on another machine")
        refusals = (self._volumes.refuse_mount(mount.volume_id, host) for mount in request.mounts)
        return next((refusal for refusal in refusals if refusal is not None), None)

    def _rent(self, ask: Ask, request: RentalRequest, now: datetime) -> Answer:
        if not request.starts:
            instance = self._make(ask, request, now, "stopped")
            return success(new_contract=instance.id, instance_api_key=instance.api_key)
        bid = None if request.price is None else request.price / ask.num_gpus
        outbid = ask.host.take(self._next_id + 1, ask.num_gpus, bid)
        if outbid is None:
            return no_such_ask(ask.id, 410) if request.cancels_unavailable else self._stopped(ask, request, now)
        for loser in outbid:
            self.lifecycle.lose_gpu(self.instances[loser], now)
        instance = self._make(ask, request, now, "running")
        self._market.sell(ask)
        self.lifecycle.boot(instance, now)
        return success(new_contract=instance.id, instance_api_key=instance.api_key)

    def _stopped(self, ask: Ask, request: RentalRequest, now: datetime) -> Answer:
        """Created although it cannot run: the trap of 3, second row."""
        instance = self._make(ask, request, now, "stopped")
        text = "Required resources are currently unavailable."
        return Answer(
            {
                "success": False,
                "error": "resources_unavailable",
                "msg": text,
                "new_contract": instance.id,
                "instance_api_key": instance.api_key,
            }
        )

    def _make(self, ask: Ask, request: RentalRequest, now: datetime, wanted: Wanted) -> Instance:
        self._next_id += 1
        settings, rng = self._core.settings, self._core.rng
        mounts = list(request.mounts)
        if request.new_volume is not None:
            mounts.append(self._make_volume(ask.host, request.new_volume, now))
        instance = Instance(
            id=self._next_id,
            host=ask.host,
            num_gpus=ask.num_gpus,
            image=request.image,
            runtype=request.runtype,
            disk_gb=request.disk_gb,
            label=request.label,
            env=request.env,
            onstart=request.onstart,
            args=request.args,
            mounts=tuple(mounts),
            bid=request.price,
            gpu_cost=ask.host.gpu_price * ask.num_gpus,
            created_at=now,
            visible_at=now + timedelta(seconds=settings.invisible_seconds),
            end_date=min(now + timedelta(days=settings.contract_days), ask.host.end_date),
            api_key=f"{rng.getrandbits(128):032x}",
            authorized_keys=self._account.public_keys(),
            fate=draw_boot(rng, settings.weather),
            intended=wanted,
            current=wanted,
            upcoming=wanted,
        )
        self.instances[instance.id] = instance
        for mount in mounts:
            self._volumes.volumes[mount.volume_id].holders.append(instance.id)
        self._core.emit(Created(instance.id))
        self.lifecycle.meter(instance, now)
        self._core.agenda.at(instance.end_date, lambda when: self.lifecycle.expire(instance, when))
        return instance

    def _make_volume(self, host: Host, wanted: NewVolume, now: datetime) -> Mount:
        return Mount(self._volumes.make(host, wanted.size_gb, wanted.name, now).id, wanted.path)

    def load(self, now: datetime, ask: Ask, body: Mapping[str, Any], *, has_body: bool = True) -> Instance:
        """Our quick loader: an instance that runs at once, without boot time, weather or limits."""
        request = read_request(body)
        if isinstance(request, Answer):
            raise ValueError(request.body["msg"])
        ask.host.take(self._next_id + 1, ask.num_gpus, None if request.price is None else request.price / ask.num_gpus)
        instance = self._make(ask, request, now, "running")
        instance.has_body = has_body
        instance.fate, instance.visible_at = None, now
        self._market.sell(ask)
        self.lifecycle.run(instance, now)
        self.lifecycle.open_ssh(instance, now)
        return instance

    def load_standby(self, now: datetime, primary: Instance, ask: Ask) -> Instance:
        """A stopped rental beside a loaded one, with the same volumes and the same onstart; it has run once before."""
        request = RentalRequest(
            image=primary.image,
            disk_gb=primary.disk_gb,
            label=f"{primary.label}-standby" if primary.label else None,
            env=dict(primary.env),
            onstart=primary.onstart,
            args=[],
            runtype=primary.runtype,
            price=None,
            starts=False,
            cancels_unavailable=True,
            mounts=primary.mounts,
            new_volume=None,
        )
        instance = self._make(ask, request, now, "stopped")
        instance.fate, instance.visible_at, instance.has_booted, instance.actual = None, now, True, "exited"
        return instance

    # -- read ---------------------------------------------------------------------------------------------------

    def show(self, now: datetime, instance_id: int) -> Answer:
        """A destroyed or unknown id is 200 with null, and so is one that is too new to be seen."""
        instance = self.instances.get(instance_id)
        if instance is None or instance.visible_at > now:
            return Answer({"instances": None})
        return Answer({"instances": self._row(instance, now, self._ledger.balance(now))})

    def rows(self, now: datetime, named: Collection[int] | None = None) -> list[dict[str, Any]]:
        """Every visible instance, or those that are named, as the list shows it, with its volumes."""
        credit = self._ledger.balance(now)
        asked = self.instances.values() if named is None else map(self.instances.get, sorted(named))
        visible = (instance for instance in asked if instance is not None and instance.visible_at <= now)
        return [self._row(instance, now, credit, with_volumes=True) for instance in visible]

    def _row(self, instance: Instance, now: datetime, credit: float, *, with_volumes: bool = False) -> dict[str, Any]:
        known = self._volumes.volumes
        mounted = [volume_brief(known[mount.volume_id]) for mount in instance.mounts if mount.volume_id in known]
        shown = mounted if with_volumes else None
        return instance_row(instance, now, self._core.settings, credit=credit, volumes=shown)

    # -- change -------------------------------------------------------------------------------------------------

    def change(self, now: datetime, instance_id: int, body: Mapping[str, Any]) -> Answer:
        """`PUT /instances/{id}/`: start, stop or label."""
        instance = self.instances.get(instance_id)
        if instance is None:
            return no_such_instance(instance_id)
        if "label" in body:
            if len(body["label"] or "") > 1024:
                return failure(400, "invalid_args", "label_too_long")
            instance.label = body["label"]
            if "state" not in body:
                return success()
        match body.get("state"):
            case "running":
                return self._start(instance, now)
            case "stopped":
                self.lifecycle.stop(instance, now)
                return success()
            case _:
                return Answer({"success": False, "msg": "Invalid target state"}, 400)

    def _start(self, instance: Instance, now: datetime) -> Answer:
        if self._ledger.balance(now) <= 0:
            return failure(400, "missing_billing", "You lack credit, see the billing page.")
        if now >= instance.end_date:
            return failure(400, "invalid_args", "The contract has ended.")
        if self.lifecycle.start(instance, now):
            return success()
        return failure(200, "resources_unavailable", QUEUED)

    def change_many(self, now: datetime, body: Mapping[str, Any]) -> Answer:
        """`PUT /instances/`: 200 if at least one was done (8)."""
        ids = body.get("ids")
        if not isinstance(ids, list) or not ids:
            return failure(400, "invalid_args", "ids list required")
        if len(ids) > MANY:
            return failure(400, "invalid_args", f"chunk length of {len(ids)} > {MANY}")
        answers = [self.change(now, number, {"state": body.get("state")}) for number in _numbers(ids)]
        done = any(answer.status == 200 and answer.body["success"] for answer in answers)
        return success() if done else failure(404, "invalid_args", "no instance was changed")

    def restart(self, now: datetime, instance_id: int, shown: str) -> Answer:
        """Reboot or recycle; both want a container that was started, on a host that answers."""
        instance = self.instances.get(instance_id)
        if instance is None:
            return failure(400, "invalid_args", "invalid instance_id")
        if not (instance.has_booted and instance.current == "running" and instance.host.alive):
            text = "Invalid instance id. Is the container started?" if shown == "rebooting" else "Invalid instance id."
            return failure(200, "invalid_id", text)
        self.lifecycle.restart(instance, now, shown)
        return success()

    def change_bid(self, now: datetime, instance_id: int, price: Any) -> Answer:
        """`PUT /instances/bid_price/{id}/`; null lets the server choose a winning bid, which may be lower."""
        instance = self.instances.get(instance_id)
        if instance is None:
            return failure(404, "no_such_instance", "Instance with that ID does not exist.")
        if instance.bid is None:
            return failure(400, "invalid_args", "Can't change price of on-demand contract.")
        count = instance.num_gpus
        bid = instance.host.winning_bid(count) * count if price is None else price
        if not isinstance(bid, int | float) or not 0.001 <= bid <= 32 * count:
            return failure(400, "invalid_args", "Please set a bid price >= 0.001.")
        instance.bid = float(bid)
        if bid / count < instance.host.bid_floor and instance.host.is_held_by(instance.id):
            instance.host.give_up(instance.id)
            self.lifecycle.lose_gpu(instance, now, by_own_bid=True)
            instance.is_waiting = False
            self.lifecycle.gpus_freed(instance.host, now)
        else:
            instance.host.rebid(instance.id, bid / count)
        self.lifecycle.meter(instance, now)
        return success()

    # -- destroy ------------------------------------------------------------------------------------------------

    def destroy(self, now: datetime, instance_id: int) -> Answer:
        """Accepted also where the host is offline; the volume is released a while later."""
        instance = self.instances.pop(instance_id, None)
        if instance is None:
            return no_such_instance(instance_id)
        self.lifecycle.end(instance, now)
        self._volumes.release(instance_id, now)
        self._core.emit(Erased(instance_id))
        return success()

    def destroy_many(self, now: datetime, ids: Any) -> Answer:
        if not isinstance(ids, list):
            return failure(400, "invalid_args", "instance_ids array is required")
        done = [self.destroy(now, number).status == 200 for number in _numbers(ids)]
        return success() if any(done) else failure(404, "instances_not_found", "none of the instances was found")


def _numbers(ids: Sequence[Any]) -> list[int]:
    return [int(value) for value in ids if str(value).isdigit()]
