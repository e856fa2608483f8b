"""A short soak in every run; the long one is `make soak`."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.footprint import Footprint
from benchmarks.soak import MORE_ENTRIES, MOST_KIB_PER_FAILOVER, grown, soak


async def test_every_kind_of_death_comes_to_a_good_end_and_the_daemon_does_not_grow() -> None:
    result = await soak(failovers=14, seed=3, speed=80.0)
    assert result.problems == ()
    assert sum(result.failovers.values()) >= 14
    assert len(result.deaths) == 7, "every kind"
    assert {"warm_pool", "cpu_standby", "repaired"} <= set(result.failovers)


def test_growth_is_named() -> None:
    warm = Footprint(100.0, 1000, 40, 30, {"prober._seen": 8, "ingest._beats": 20})
    assert grown(warm, replace(warm, rss_mib=150.0), 10, MOST_KIB_PER_FAILOVER) == []
    tables = {"prober._seen": 9 + MORE_ENTRIES, "ingest._beats": 500, "loop._new": 1}
    more = Footprint(100.0, 2000, 46, 36, tables)
    assert grown(warm, more, 10, MOST_KIB_PER_FAILOVER + 1) == [
        "live objects grew by 100 a failover",
        "open files grew from 40 to 46",
        "tasks grew from 30 to 36",
        f"prober._seen grew from 8 to {9 + MORE_ENTRIES} entries",
        f"RSS grew by {MOST_KIB_PER_FAILOVER + 1:.0f} KiB a failover",
    ]
