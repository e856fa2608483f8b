"""The words in which stories about a running stack are told."""

from __future__ import annotations

import json
from typing import Any

from events import topics
from tests.servers.stack import Stack


def wait_until_healthy(stack: Stack, machine: int) -> Any:
    """The machine, once it is healthy, in no failover, and its present work can be restored."""

    def find() -> Any:
        found = stack.machine(machine)
        is_well = found["state"] == "healthy" and found["failover_id"] is None
        return found if is_well and stack.get(f"/failover/readiness/{machine}")["cpu_standby_ready"] else None

    return stack.until(f"machine {machine} is healthy", find)


def the_failover_of(stack: Stack, machine: int, count: int = 1) -> Any:
    """Its newest failover, once it has had so many; more are an error."""
    found = stack.until(
        f"machine {machine} fails over", lambda: len(stack.failovers(machine)) >= count and stack.failovers(machine)
    )
    assert len(found) == count
    return found[0]


def wait_for_success(stack: Stack, failover: str) -> None:
    def has_ended() -> Any:
        found = stack.timeline(failover)
        return found if found["state"] != "running" else None

    ended = stack.until(f"{failover} ends", has_ended)
    assert ended["success"], f"{failover} ended with {ended['error']}: {ended['error_detail']}"


def silence(stack: Stack, machine: int) -> int:
    """Kill the machine's agent, and wait until the daemon knows why it is silent; the instance, which lives."""
    number: int = stack.machine(machine)["gpu_instance_id"]
    stack.kill_agents_of(number)
    stack.until("the agent has ended", lambda: stack.instance(number)["agents"] == 0)
    stack.until("it is found alive", lambda: "degraded monitoring" in stack.machine(machine)["because"])
    return number


def results_of(stack: Stack, command_id: str) -> list[Any]:
    results = [value(record) for record in stack.records(topics.COMMAND_RESULTS)]
    return [result for result in results if result["command_id"] == command_id]


def result_of(stack: Stack, command_id: str) -> Any:
    (result,) = stack.until(f"the answer to {command_id}", lambda: results_of(stack, command_id))
    return result


def differences(stack: Stack) -> list[str]:
    """How the provider's books differ from the machines'."""
    machines = stack.get("/machines")["machines"]
    primaries = {row["id"]: row["gpu_instance_id"] for row in machines}
    claimed = {*primaries.values(), *(row["standby_gpu_instance_id"] for row in machines)}
    rows = stack.world()["instances"]
    found = [f"nobody claims {row['id']} ({row['label']})" for row in rows if row["id"] not in claimed]
    for machine, primary in primaries.items():
        serving = [
            row["id"] for row in rows if row["serving"] and row["env"].get("FAILOVERD_MACHINE_ID") == str(machine)
        ]
        if serving != [primary]:
            found.append(f"machine {machine}: primary {primary}, serving {serving}")
    return found


def headers(record: Any) -> dict[str, str]:
    return {name: content.decode() for name, content in record.headers}


def value(record: Any) -> Any:
    return json.loads(record.value)
