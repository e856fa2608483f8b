"""Beats for thousands of machines from one process: what their agents would say, and nothing else.

`python -m benchmarks.herd --kafka HOST:PORT --interval 10 --machines FILE`; the file has a line `MACHINE INSTANCE` for each.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

from adapters.kafka import KafkaLog, KafkaSettings
from adapters.system_clock import SystemClock, SystemRandom
from events import codec, topics
from events.schema import Heartbeat
from events.topics import Message
from machines.errors import LogUnavailable

_SLOTS = 50
"""Parts of an interval: every part has its share of the machines."""


async def beat(kafka: str, machines: Sequence[tuple[int, int]], interval_s: float, speed: float) -> None:
    """Until cancelled. A beat that cannot be sent is dropped, as an agent drops it."""
    clock, boot = SystemClock(speed), SystemRandom().token(12)
    log = KafkaLog(KafkaSettings(kafka, client_id="herd"), clock)
    await log.start()
    sequence = 0
    due = clock.monotonic()
    try:
        while True:
            sequence += 1
            for slot in range(_SLOTS):
                await clock.sleep(due - clock.monotonic())
                due += interval_s / _SLOTS
                beats = (Heartbeat(m, i, boot, sequence, interval_s, None) for m, i in machines[slot::_SLOTS])
                try:
                    await log.append_all([_message(one) for one in beats])
                except LogUnavailable:
                    continue
    finally:
        await log.stop()


def _message(event: Heartbeat) -> Message:
    return Message(topics.HEARTBEATS, codec.encode(event), str(event.machine_id).encode())


async def _until_told(work: asyncio.Task[None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    await asyncio.wait({work})
    if not work.cancelled():
        work.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--machines", type=Path, required=True)
    parser.add_argument("--interval", type=float, default=10.0)
    parser.add_argument("--speed", type=float, default=1.0)
    options = parser.parse_args()
    pairs = [tuple(map(int, line.split())) for line in options.machines.read_text().splitlines()]
    machines = [(machine, instance) for machine, instance in pairs]

    async def run() -> None:
        work = asyncio.create_task(beat(options.kafka, machines, options.interval, options.speed))
        await _until_told(work)

    asyncio.run(run())


if __name__ == "__main__":
    main()
