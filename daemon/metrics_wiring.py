"""Hangs the instruments onto the parts of a daemon that they measure."""

from __future__ import annotations

import httpx

from adapters.sql.executor import Store
from adapters.vast import Circuit, VastClient
from daemon.commands import Commands
from daemon.credit import CreditWatch
from daemon.event_feed import EventFeed
from daemon.ingest import Ingest
from daemon.leases import Leases
from daemon.loop import Loop
from daemon.metrics import Meters
from daemon.metrics_page import MetricsPage
from daemon.notifying import Notifying
from daemon.publisher import Publisher
from daemon.readiness import ReadinessPoll
from daemon.runner import Runner
from machines.ports import Clock


def measured(
    version: str,
    clock: Clock,
    store: Store,
    loop: Loop,
    runner: Runner,
    commands: Commands,
    vast: httpx.AsyncClient,
    ingest: Ingest,
    publisher: Publisher,
    readiness: ReadinessPoll,
    circuit: Circuit,
    credit: CreditWatch,
    leases: Leases,
    feed: EventFeed,
    topic_prefix: str,
    is_kafka: bool,
    notifying: Notifying | None,
) -> MetricsPage:
    """The page of one daemon; from now on its parts are measured."""
    meters = Meters(clock, version)
    loop.on_saved = meters.saved
    ingest.on_gaps = meters.gaps
    runner.on_try = meters.step
    commands.on_asked = meters.command
    if notifying is not None:
        notifying.on_told = meters.notified
    if isinstance(vast, VastClient):
        vast.on_answer = meters.vast_answer
    return MetricsPage(
        meters,
        store,
        loop,
        ingest,
        publisher,
        readiness,
        circuit,
        credit,
        leases,
        feed,
        clock,
        topic_prefix,
        is_kafka,
    )
