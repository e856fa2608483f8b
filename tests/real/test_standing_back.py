"""One of two replicas is cut off from the provider alone: it leaves its failover, the fleet's jobs and its partitions to the
other one, is told of, and takes its share again when it is answered.
"""

from __future__ import annotations

import httpx
import pytest

from tests.real.books import books, until
from tests.real.scenes import two_daemons
from tests.real.truth import watching
from tests.servers.replica import Replica
from tests.servers.stack import BEARER
from tests.stories import differences, wait_for_success, wait_until_healthy

FIRST, SECOND = 1, 2


def test_whoever_alone_loses_the_provider_leaves_its_work_to_the_other_and_comes_back(
    postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        two_daemons(postgres_server, 2, tmp_path_factory) as (stack, database, _),
        books(database) as rows,
        watching(stack) as truth,
    ):
        old = wait_until_healthy(stack, FIRST)["gpu_instance_id"]
        stack.kill_host_under(old)
        failover = until("a failover", lambda: rows.failover_of(FIRST))
        until("it rents", lambda: rows.has_started(failover, "rent_candidate"))
        loser = until("its lease", lambda: rows.holder(stack, failover))
        assert loser.wires is not None
        stack.voice = next(replica for replica in stack.replicas if replica is not loser)
        fence = rows.fence_of(FIRST)
        loser.wires.provider.cut()
        try:
            until("the other takes over", lambda: rows.holder(stack, failover) is stack.voice)
            wait_for_success(stack, failover)
            assert rows.fence_of(FIRST) == fence + 1, "calls of the former owner may be under way"
            stack.until("it has left the group", lambda: not hears_anything(loser))
            stack.until("it is told of", lambda: loser.id in stack.alerts().get("replica-cut-off", ""))
            stack.kill_host_of(SECOND)
            wait_for_success(stack, until("a failover", lambda: rows.failover_of(SECOND)))
            stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
        finally:
            loser.wires.clear()
        stack.until("it hears its share again", lambda: hears_anything(loser))
        stack.until("it is told of no more", lambda: "replica-cut-off" not in stack.alerts())
        stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
        assert not truth.wrongs


def hears_anything(replica: Replica) -> bool:
    return "failoverd_kafka_consumer_lag{" in httpx.get(f"{replica.url}/metrics", headers=BEARER).text
