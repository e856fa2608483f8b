"""The world in virtual time: durations, two-phase states, queues, volumes, bills and bad weather."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.sim.core import Booted, Halted
from adapters.sim.instances import Instance, Mount
from adapters.sim.offers import Ask
from adapters.sim.settings import CALM, HARD, Weather, WorldSettings
from adapters.sim.weather import DeadBoot
from adapters.sim.world import World

START = datetime(2030, 1, 1, tzinfo=UTC)
BODY = {"image": "pytorch/pytorch:latest", "disk": 32.0, "label": "fo-1", "runtype": "ssh_direc ssh_proxy"}


class Story:
    """A world, its time, and short words for what happens in it."""

    def __init__(self, seed: int = 1, **settings: Any) -> None:
        self.world = World(seed, WorldSettings(**settings), START)
        self.at = 0.0

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.at)

    def wait(self, seconds: float) -> None:
        self.at += seconds
        self.world.advance(self.now)

    def ask(self, *, host: int | None = None) -> Ask:
        asks = self.world.market.asks.values()
        return next(a for a in asks if a.num_gpus == 1 and (host is None or a.host.machine_id == host))

    def rent(self, *, host: int | None = None, **body: Any) -> Instance:
        answer = self.world.rentals.create(self.now, self.ask(host=host).id, {**BODY, **body})
        assert answer.status == 200, answer
        return self.world.instances[answer.body["new_contract"]]

    def running(self, **body: Any) -> Instance:
        instance = self.rent(**body)
        self.wait(90)
        assert instance.ssh_open
        return instance

    def row(self, instance: Instance) -> dict[str, Any]:
        row = self.world.rentals.show(self.now, instance.id).body["instances"]
        assert row is not None
        return dict(row)

    def status(self, instance: Instance) -> tuple[str | None, str, str]:
        row = self.row(instance)
        return row["actual_status"], row["intended_status"], row["cur_state"]

    def put(self, instance: Instance, state: str) -> Any:
        return self.world.rentals.change(self.now, instance.id, {"state": state})


def test_the_same_seed_makes_the_same_world() -> None:
    one, other, third = Story(5), Story(5), Story(6)
    query = {"order": [["dph_total", "asc"]], "verified": {"eq": True}}
    assert one.world.market.search(START, query) == other.world.market.search(START, query)
    assert one.world.market.search(START, query) != third.world.market.search(START, query)


def test_a_boot_shows_null_created_loading_running_and_then_answers_on_ssh() -> None:
    story = Story()
    instance = story.rent()
    seen = []
    for at in (1.9, 2.0, 4.9, 5.0, 6.0, 72.9, 73.0, 84.9, 85.0):
        story.wait(at - story.at)
        row = story.world.rentals.show(story.now, instance.id).body["instances"]
        seen.append((at, row and row["actual_status"], row and row["ports"] is not None, instance.ssh_open))
    assert seen == [
        (1.9, None, None, False),
        (2.0, None, False, False),
        (4.9, None, False, False),
        (5.0, "created", False, False),
        (6.0, "loading", False, False),
        (72.9, "loading", False, False),
        (73.0, "running", True, False),
        (84.9, "running", True, False),
        (85.0, "running", True, True),
    ]
    assert story.row(instance)["status_msg"] == "success, running pytorch/pytorch:latest/ssh"


def test_a_stop_is_intended_at_once_and_exited_later_and_frees_the_gpu() -> None:
    story = Story()
    instance = story.running()
    idle = instance.host.idle()
    story.put(instance, "stopped")
    assert story.status(instance) == ("running", "stopped", "stopped")
    assert story.row(instance)["ports"] is None
    story.wait(15)
    assert story.status(instance) == ("exited", "stopped", "stopped")
    assert instance.host.idle() == idle + 1
    assert story.put(instance, "stopped").body == {"success": True}


def test_a_granted_start_shows_the_stale_exited_until_it_runs_on_a_new_port() -> None:
    story = Story()
    instance = story.running()
    port = instance.port
    story.put(instance, "stopped")
    story.wait(20)
    assert story.put(instance, "running").body == {"success": True}
    story.wait(29)
    assert story.status(instance) == ("exited", "running", "running")
    story.wait(1)
    assert story.status(instance) == ("running", "running", "running")
    assert instance.port != port


def test_a_refused_start_stays_queued_and_comes_up_by_itself_unless_it_is_cancelled() -> None:
    story = Story()
    instance = story.running()
    host = instance.host
    story.put(instance, "stopped")
    story.wait(15)
    others = [story.rent(host=host.machine_id) for _ in range(host.idle())]
    answer = story.put(instance, "running")
    assert (answer.status, answer.body["success"], answer.body["error"]) == (200, False, "resources_unavailable")
    assert answer.body["msg"] == "Required resources are currently unavailable, state change queued."
    assert story.status(instance) == ("exited", "running", "stopped")
    story.wait(3600)
    assert story.status(instance) == ("exited", "running", "stopped")
    story.world.rentals.destroy(story.now, others[0].id)
    story.wait(19.9)
    assert story.status(instance) == ("exited", "running", "stopped")
    story.wait(0.1)
    assert story.status(instance) == ("exited", "running", "running")
    story.wait(30)
    assert story.status(instance) == ("running", "running", "running")


def test_a_cancelled_queued_start_never_comes_up() -> None:
    story = Story()
    instance = story.running()
    story.put(instance, "stopped")
    story.wait(15)
    others = [story.rent(host=instance.host.machine_id) for _ in range(instance.host.idle())]
    story.put(instance, "running")
    story.put(instance, "stopped")
    story.world.rentals.destroy(story.now, others[0].id)
    story.wait(3600)
    assert story.status(instance) == ("exited", "stopped", "stopped")


def test_an_outbid_instance_flips_exits_keeps_its_message_and_resumes_by_itself() -> None:
    story = Story()
    instance = story.running(price=0.4)
    story.world.rentals.lifecycle.preempt(instance, story.now, 300)
    assert story.status(instance) == ("running", "running", "running")
    story.wait(1.4)
    assert story.status(instance) == ("running", "stopped", "stopped")
    story.wait(15)
    assert story.status(instance) == ("exited", "stopped", "stopped")
    assert story.row(instance)["status_msg"].startswith("success, running")
    story.wait(300 - 16.4 + 20)
    assert story.status(instance) == ("exited", "running", "running")
    story.wait(30)
    assert story.status(instance) == ("running", "running", "running")


def test_an_on_demand_rental_takes_the_gpu_of_the_lowest_bid() -> None:
    story = Story()
    bidder = story.running(price=0.3)
    host = bidder.host
    while host.idle():
        story.rent(host=host.machine_id)
    story.rent(host=host.machine_id)
    story.wait(20)
    assert story.status(bidder) == ("exited", "stopped", "stopped")


def test_a_bid_below_the_floor_makes_a_stopped_instance_that_bills_its_disk() -> None:
    story = Story()
    answer = story.world.rentals.create(story.now, story.ask().id, {**BODY, "price": 0.001})
    assert answer.status == 200
    assert answer.body["success"] is False
    instance = story.world.instances[answer.body["new_contract"]]
    story.wait(3600)
    assert story.status(instance) == (None, "stopped", "stopped")
    assert story.world.ledger.of_instance(instance.id, story.now) == pytest.approx(instance.storage_cost)


def test_my_own_min_bid_echoes_my_bid() -> None:
    story = Story()
    instance = story.running(price=1.0)
    assert story.row(instance)["min_bid"] == pytest.approx(1.2)
    assert story.row(instance)["dph_base"] == 1.0


def test_a_dead_host_is_unknown_then_offline_and_its_instances_return_with_it() -> None:
    story = Story()
    instance = story.running()
    story.world.drain()
    story.world.kill_host(instance.host, story.now)
    assert story.world.drain() == [Halted(instance.id, hard=True)]
    seen = []
    for seconds in (29.9, 0.1, 89.9, 0.1):
        story.wait(seconds)
        seen.append(story.row(instance)["actual_status"])
    assert seen == ["running", "unknown", "unknown", "offline"]
    assert story.world.rentals.restart(story.now, instance.id, "rebooting").body["error"] == "invalid_id"
    story.wait(7 * 86400)
    story.world.revive_host(instance.host, story.now)
    story.wait(30)
    assert story.status(instance) == ("running", "running", "running")
    assert Booted(instance.id) in story.world.drain()


def test_a_stop_of_an_instance_on_a_dead_host_holds_when_the_host_returns() -> None:
    story = Story()
    instance = story.running()
    story.world.kill_host(instance.host, story.now)
    assert story.put(instance, "stopped").body == {"success": True}
    story.wait(3600)
    story.world.revive_host(instance.host, story.now)
    story.wait(3600)
    assert story.status(instance) == ("exited", "stopped", "stopped")
    assert not instance.is_up


def test_a_dead_hosts_offers_vanish_when_its_silence_is_noticed() -> None:
    story = Story()
    host = story.ask().host
    query = {"machine_id": {"eq": host.machine_id}, "verified": {"in": [True, False]}}
    story.world.kill_host(host, story.now)
    assert story.world.market.search(story.now, query).body["offers"]
    story.wait(30)
    assert story.world.market.search(story.now, query).body["offers"] == []


@pytest.mark.parametrize("helps", [True, False])
def test_a_crash_is_exited_with_running_intended_and_a_reboot_may_help(helps: bool) -> None:
    story = Story()
    instance = story.running()
    story.world.rentals.lifecycle.crash(instance, story.now, reboot_helps=helps)
    assert story.status(instance) == ("exited", "running", "running")
    assert story.world.rentals.restart(story.now, instance.id, "rebooting").body == {"success": True}
    assert story.status(instance) == ("rebooting", "running", "running")
    story.wait(20)
    assert story.status(instance)[0] == ("running" if helps else "exited")


def test_destroy_gives_null_and_frees_the_gpu_and_a_new_offer_id() -> None:
    story = Story()
    before = set(story.world.market.asks)
    instance = story.running()
    story.world.rentals.destroy(story.now, instance.id)
    assert story.world.rentals.show(story.now, instance.id).body == {"instances": None}
    assert story.world.rentals.destroy(story.now, instance.id).body == {
        "success": False,
        "error": "no_such_instance",
        "msg": f"Instance {instance.id} not found.",
    }
    assert len(before) == len(story.world.market.asks)
    assert set(story.world.market.asks) != before


def test_a_volume_is_released_30_s_after_its_instance_is_destroyed() -> None:
    story = Story()
    ask = story.ask()
    volume = story.world.volumes.make(ask.host, 50, "v", story.now)
    info = {"volume_info": {"create_new": False, "volume_id": volume.id, "mount_path": "/data"}}
    instance = story.rent(host=ask.host.machine_id, **info)
    delete = story.world.volumes.delete
    in_use = {"error": "volume in use", "msg": "existing instances use that volume!"}
    assert (delete(story.now, volume.id).status, delete(story.now, volume.id).body) == (409, in_use)
    story.wait(90)
    story.put(instance, "stopped")
    story.wait(60)
    assert delete(story.now, volume.id).status == 409
    story.world.rentals.destroy(story.now, instance.id)
    story.wait(29.9)
    assert delete(story.now, volume.id).status == 409
    story.wait(0.1)
    assert delete(story.now, volume.id).body == {"success": True}
    assert delete(story.now, volume.id).status == 404


@pytest.mark.parametrize(("sharing", "status"), [("allowed", 200), ("refused", 400)])
def test_a_second_instance_on_a_volume_is_a_setting(sharing: str, status: int) -> None:
    story = Story(volume_sharing=sharing)
    ask = story.ask()
    volume = story.world.volumes.make(ask.host, 50, "v", story.now)
    env = {"env": {f"-v V.{volume.id}:/mnt": "1"}}
    story.rent(host=ask.host.machine_id, **env)
    answer = story.world.rentals.create(story.now, story.ask(host=ask.host.machine_id).id, {**BODY, **env})
    assert answer.status == status


def test_a_volume_cannot_be_mounted_on_another_host_nor_cloned_from_a_dead_one() -> None:
    story = Story()
    here, there = list(story.world.hosts.values())[:2]
    volume = story.world.volumes.make(here, 50, "v", story.now)
    info = {"volume_id": volume.id, "create_new": False}
    answer = story.world.rentals.create(story.now, story.ask(host=there.machine_id).id, {**BODY, "volume_info": info})
    assert (answer.status, answer.body["error"]) == (400, "invalid_args")
    clone = {"src_id": volume.id, "dst_id": there.volume_ask_id}
    assert story.world.volumes.clone(story.now, clone).body["volume_name"] == f"V.{volume.id + 1}"
    story.world.kill_host(here, story.now)
    assert story.world.volumes.clone(story.now, clone).body["error"] == "host_offline"


def test_the_bill_follows_the_state_of_the_instance() -> None:
    story = Story()
    instance = story.rent()
    gpu, disk = instance.gpu_cost, instance.storage_cost

    def cost_of(seconds: float) -> float:
        before = story.world.ledger.of_instance(instance.id, story.now)
        story.wait(seconds)
        return story.world.ledger.of_instance(instance.id, story.now) - before

    assert cost_of(73) == pytest.approx(disk * 73 / 3600), "loading: storage only"
    assert cost_of(3600) == pytest.approx(gpu + disk), "running"
    assert story.row(instance)["dph_total"] == pytest.approx(gpu + disk)
    story.put(instance, "stopped")
    story.wait(15)
    assert cost_of(3600) == pytest.approx(disk), "stopped: storage goes on"
    story.put(instance, "running")
    story.wait(60)
    story.world.kill_host(instance.host, story.now)
    story.wait(120)
    assert cost_of(3600) == pytest.approx(0), "offline: nothing"
    story.world.rentals.destroy(story.now, instance.id)
    assert cost_of(3600) == 0
    assert story.world.ledger.total(story.now) == pytest.approx(story.world.ledger.of_instance(instance.id, story.now))


def test_zero_credit_stops_everything_at_once() -> None:
    story = Story()
    instances = [story.running(), story.running()]
    story.world.set_credit(0, story.now)
    story.wait(15)
    assert {story.status(instance) for instance in instances} == {("exited", "stopped", "stopped")}
    assert story.put(instances[0], "running").body["error"] == "missing_billing"
    answer = story.world.rentals.create(story.now, story.ask().id, BODY)
    assert answer.body["error"] == "insufficient_credit"


def test_a_contract_that_ends_stops_for_good() -> None:
    story = Story(contract_days=1)
    instance = story.running()
    story.wait(86400)
    assert story.status(instance) == ("exited", "stopped", "stopped")
    assert story.put(instance, "running").status == 400


def test_hard_weather_boots_dead_and_loses_offers_at_the_stated_rates() -> None:
    story = Story(seed=11, hosts=400, weather=Weather(dead_boot_rate=0.58, offer_gone_rate=0.6))
    create, body = story.world.rentals.create, {**BODY, "cancel_unavail": True}
    asks = {ask.host.machine_id: ask.id for ask in story.world.market.asks.values()}
    statuses = [create(story.now, ask_id, body).status for ask_id in asks.values()]
    gone = sum(status != 200 for status in statuses) / len(statuses)
    assert gone == pytest.approx(0.6, abs=0.08)
    assert set(statuses) == {200, 400, 404, 410}
    story.wait(600)
    instances = list(story.world.instances.values())
    dead = [instance.fate for instance in instances if instance.fate is not None]
    assert len(dead) / len(instances) == pytest.approx(0.58, abs=0.1)
    assert set(dead) == set(DeadBoot)
    usable = [one for one in instances if one.ssh_open and one.fate is not DeadBoot.NO_OUTBOUND]
    assert len(usable) == len(instances) - len(dead)
    assert (HARD.dead_boot_rate, CALM.offer_gone_rate) == (0.58, 0)


@pytest.mark.parametrize(
    ("fate", "shown", "text"),
    [
        (DeadBoot.STUCK_LOADING, "loading", "Pulling"),
        (DeadBoot.STUCK_CREATED, "created", "OCI runtime create failed"),
        (DeadBoot.PORT_CLASH, "created", "port is already allocated"),
        (DeadBoot.SSH_REFUSED, "running", "success, running"),
    ],
)
def test_a_dead_boot_shows_what_the_fact_sheet_says(fate: DeadBoot, shown: str, text: str) -> None:
    story = Story()
    instance = story.rent()
    instance.fate = fate
    story.wait(3600)
    assert story.status(instance) == (shown, "running", "running")
    assert text in story.row(instance)["status_msg"]
    assert not instance.ssh_open


def test_snapshots_are_taken_of_running_machines_and_the_last_three_are_kept() -> None:
    story = Story()
    instance = story.running(env={"FAILOVERD_MACHINE_ID": "5"})
    story.running()
    keeper = story.world.snapshots
    story.wait(1200)
    assert [snapshot.machine_id for snapshot in keeper.of_machine(None)] == ["5"] * 3
    story.world.kill_host(instance.host, story.now)
    newest = keeper.of_machine("5")[0].taken_at
    story.wait(1200)
    assert keeper.of_machine("5")[0].taken_at == newest


def test_of_two_rentals_of_one_machine_only_the_newest_that_holds_its_data_and_speaks_is_copied() -> None:
    story = Story()
    machine = {"env": {"FAILOVERD_MACHINE_ID": "5"}}
    old, new, keeper = story.running(**machine), story.running(**machine), story.world.snapshots
    keeper.speaks = lambda instance_id: instance_id == old.id
    story.wait(120)
    assert keeper.of_machine("5")[0].instance_id == old.id
    keeper.speaks = lambda instance_id: True
    story.wait(120)
    assert keeper.of_machine("5")[0].instance_id == old.id, "nothing was restored to the new one yet"
    keeper.restore(keeper.of_machine("5")[0], new, "/workspace", story.now)
    story.wait(120)
    assert keeper.of_machine("5")[0].instance_id == new.id


def test_a_rental_on_the_same_volume_holds_the_same_data() -> None:
    story = Story()
    old = story.running(env={"FAILOVERD_MACHINE_ID": "5"})
    old.mounts = (Mount(881, "/workspace"),)
    story.wait(120)
    keeper, new = story.world.snapshots, story.running(env={"FAILOVERD_MACHINE_ID": "5"})
    new.mounts = old.mounts
    story.wait(120)
    assert keeper.of_machine("5")[0].instance_id == new.id


def test_a_restore_takes_size_over_bandwidth_and_fails_where_its_instance_ends() -> None:
    story = Story()
    story.running(env={"FAILOVERD_MACHINE_ID": "5"})
    story.wait(120)
    snapshot = story.world.snapshots.of_machine("5")[0]
    target = story.running()
    restore = story.world.snapshots.restore(snapshot, target, "/workspace", story.now)
    seconds = restore.bytes_total / restore.rate
    assert 5 <= seconds <= 40
    story.wait(seconds / 2)
    assert restore.state == "running"
    assert restore.bytes_done(story.now) == pytest.approx(restore.bytes_total / 2, rel=0.01)
    assert story.world.snapshots.restore(snapshot, target, "/workspace", story.now) is restore
    story.wait(seconds / 2 + 0.1)
    assert restore.state == "done"
    doomed = story.running()
    restore = story.world.snapshots.restore(snapshot, doomed, "/workspace", story.now)
    story.world.kill_host(doomed.host, story.now)
    story.wait(60)
    assert story.world.snapshots.check(restore, story.now).state == "failed"
