"""Replicas come and go under load: `make replicas` in small, with every check."""

from __future__ import annotations

from pathlib import Path

from benchmarks.replicas import Options, play
from tests.servers import databases
from tests.servers.kafka import KafkaBroker

SMALL = Options(machines=60, dead=6, replicas=3, minutes=0.75, every=15.0, seed=1, interval=4.0, speed=3.0)


async def test_while_replicas_are_killed_and_added_no_death_is_lost_and_no_living_machine_is_moved(
    own_kafka_broker: KafkaBroker, postgres_server: str, tmp_path: Path
) -> None:
    with databases.on_server(postgres_server, migrated=False) as url:
        report = await play(SMALL, tmp_path, own_kafka_broker.bootstrap, url)
    assert report.replicas["killed"] + report.replicas["ended"] == 2
    assert [check for check in report.checks if not check.ok] == [], "\n".join(report.lines())
