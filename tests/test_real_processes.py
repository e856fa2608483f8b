"""The product as its operator runs it: real processes, a real broker, kill -9. What they say is held against the world."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from events import topics
from tests.servers.kafka import KafkaBroker
from tests.servers.stack import BEARER, Stack
from tests.stories import (
    differences,
    headers,
    result_of,
    results_of,
    silence,
    the_failover_of,
    value,
    wait_for_success,
    wait_until_healthy,
)

MACHINES = 5
SPEED = 10.0
MINUTE = 60.0
COMMANDS_GROUP = "failoverd-commands"
MACHINE_CHANGED = "io.failoverd.machine.changed.v1"
FAILOVER_CHANGED = "io.failoverd.failover.changed.v1"


@pytest.fixture(scope="module")
def stack(own_kafka_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All stories share it, and each has machines of its own. Its broker is its own too: topics have their plain names."""
    everything = Stack(tmp_path_factory.mktemp("stack"), own_kafka_broker.bootstrap, MACHINES, SPEED)
    try:
        everything.start()
        everything.until("every agent runs and every snapshot is verified", lambda: _is_set_up(everything.world()))
        everything.until("every machine was heard", lambda: len(_heard(everything)) == MACHINES)
        yield everything
    finally:
        everything.stop()


def _is_set_up(world: Any) -> bool:
    verified = {int(row["machine_id"]) for row in world["snapshots"] if row["verified"]}
    return all(row["agents"] == 1 for row in world["instances"]) and len(verified) == MACHINES


def _heard(stack: Stack) -> set[bytes]:
    return {record.key for record in stack.records(topics.HEARTBEATS) if record.key is not None}


def test_a_killed_host_is_replaced_and_every_change_is_told_on_kafka(stack: Stack) -> None:
    wait_until_healthy(stack, 1)
    old = stack.kill_host_of(1)
    failover = the_failover_of(stack, 1)
    assert failover["trigger"] == "heartbeat_lost"
    wait_for_success(stack, failover["failover_id"])
    new = wait_until_healthy(stack, 1)["gpu_instance_id"]
    assert new != old

    told = stack.until("the whole story is on the topic", lambda: _story(stack, 1, new))
    for record in told:
        assert headers(record)["ce_specversion"] == "1.0"
        assert headers(record)["ce_type"] in (MACHINE_CHANGED, FAILOVER_CHANGED)
        assert headers(record)["ce_subject"] == "1"
        assert headers(record)["content-type"] == "application/json"
    assert len({headers(record)["ce_source"] for record in told}) == 1
    assert len({headers(record)["ce_id"] for record in told}) == len(told)
    changes = [value(record) for record in told if headers(record)["ce_type"] == MACHINE_CHANGED]
    versions = [change["version"] for change in changes]
    assert versions == sorted(set(versions))
    moves = [(change["previous_state"], change["state"]) for change in changes if change["previous_state"]]
    assert moves == [
        ("healthy", "detecting"),
        ("detecting", "cpu_standby_attempt"),
        ("cpu_standby_attempt", "recovered"),
        ("recovered", "healthy"),
    ]
    course = [value(record) for record in told if headers(record)["ce_type"] == FAILOVER_CHANGED]
    assert {event["failover_id"] for event in course} == {failover["failover_id"]}
    whats = [event["what"] for event in course]
    assert (whats[0], whats[-1]) == ("began", "ended")
    assert "fenced" in whats
    assert course[-1]["success"] is True
    assert course[-1]["new_gpu_instance_id"] == new


def _story(stack: Stack, machine: int, new: int) -> list[Any] | None:
    """What the topic says of the machine, once it tells that the new instance is healthy."""
    told = [record for record in stack.records(topics.EVENTS) if record.key == b"%d" % machine]
    changes = [value(record) for record in told if headers(record)["ce_type"] == MACHINE_CHANGED]
    is_over = bool(changes) and (changes[-1]["state"], changes[-1]["gpu_instance_id"]) == ("healthy", new)
    return told if is_over else None


def test_the_newest_value_of_each_machine_on_the_compacted_topic_is_what_the_api_shows(stack: Stack) -> None:
    def agree() -> bool:
        newest = {record.key: value(record) for record in stack.records(topics.MACHINES)}
        shown = {b"%d" % row["id"]: row for row in stack.get("/machines")["machines"]}
        names = ("version", "state", "because", "since", "gpu_instance_id", "fence", "failover_id", "ssh_port")
        return newest.keys() == shown.keys() and all(
            [newest[key][name] for name in names] == [shown[key][name] for name in names] for key in shown
        )

    stack.until("topic and API say the same", agree)
    assert len(stack.get("/machines")["machines"]) == MACHINES


def test_a_bare_command_is_carried_out_once_however_often_it_is_sent(stack: Stack) -> None:
    wait_until_healthy(stack, 2)
    command = b'{"command":"failover","machine_id":2,"command_id":"a1"}'
    stack.produce(topics.COMMANDS, b"2", command, command)
    failover = the_failover_of(stack, 2)
    assert (failover["trigger"], stack.timeline(failover["failover_id"])["command_id"]) == ("command", "a1")
    wait_for_success(stack, failover["failover_id"])
    result = result_of(stack, "a1")
    assert (result["status"], result["machine_id"]) == ("succeeded", 2)
    assert result["failover_id"] == failover["failover_id"]

    wait_until_healthy(stack, 2)
    stack.produce(topics.COMMANDS, b"2", command)
    stack.until("the command was read", lambda: stack.has_read(COMMANDS_GROUP, topics.COMMANDS))
    stack.never("a second failover", lambda: len(stack.failovers(2)) != 1, MINUTE / 2)
    assert len(results_of(stack, "a1")) == 1


def test_one_command_five_times_through_both_doors_and_after_a_restart_has_one_effect_and_one_answer(
    stack: Stack,
) -> None:
    machine = wait_until_healthy(stack, 4)
    body = {name: machine[name] for name in ("gpu_instance_id", "ssh_host", "ssh_port")} | {"machine_id": 4}
    command = b'{"command":"failover","machine_id":4,"command_id":"once"}'

    def over_http() -> httpx.Response:
        return stack.post("/failover/execute", body, 60.0, {"Idempotency-Key": "once"})

    with ThreadPoolExecutor(6) as pool:
        sent = pool.submit(stack.produce, topics.COMMANDS, b"4", *[command] * 5)
        first = [asked.result() for asked in [pool.submit(over_http) for _ in range(5)]]
        sent.result()
    assert [answer.status_code for answer in first] == [200] * 5
    answers = {answer.text for answer in first}
    assert len(answers) == 1
    assert first[0].json()["success"] is True

    stack.kill_daemon()
    stack.start_daemon()
    stack.produce(topics.COMMANDS, b"4", command)
    assert {over_http().text} == answers
    stack.until("every command was read", lambda: stack.has_read(COMMANDS_GROUP, topics.COMMANDS))
    told = [record for record in stack.records(topics.COMMAND_RESULTS) if value(record)["command_id"] == "once"]
    # The daemon was killed at once after the answer, so the one result may have been delivered again under its one id.
    assert len({(headers(record)["ce_id"], record.value) for record in told}) == 1
    result = value(told[0])
    assert (result["status"], result["failover_id"]) == ("succeeded", first[0].json()["failover_id"])
    assert [row["failover_id"] for row in stack.failovers(4)] == [result["failover_id"]]
    assert result["result"] == first[0].json()


def test_an_expired_command_is_refused_with_its_code(stack: Stack) -> None:
    before = stack.failovers(2)
    command = {"command": "failover", "command_id": "late", "expires_at": "2020-01-01T00:00:00Z"}
    stack.produce(topics.COMMANDS, b"2", json.dumps(command).encode())
    result = result_of(stack, "late")
    assert (result["status"], result["code"], result["machine_id"]) == ("refused", "expired", 2)
    assert result["remedy"]
    assert stack.failovers(2) == before


@pytest.mark.parametrize(
    ("letter", "cause"),
    [
        (b'{"command":"failover","machine_id":2,', "malformed"),
        (b'{"command":"failover","machine_id":"two"}', "invalid"),
        (b'{"command":"failover","machine_id":2,"comand_id":"typo"}', "invalid"),
    ],
    ids=["cut short", "wrong type", "unknown field"],
)
def test_what_is_no_command_lands_on_the_dead_letters_with_its_cause(stack: Stack, letter: bytes, cause: str) -> None:
    stack.produce(topics.COMMANDS, b"2", letter)

    def find() -> Any:
        return next((record for record in stack.records(topics.DEAD_LETTERS) if record.value == letter), None)

    dead = stack.until("the dead letter", find)
    (place,) = [record.offset for record in stack.records(topics.COMMANDS) if record.value == letter]
    assert dead.key == b"2"
    assert headers(dead)["x-dlq-error-code"] == cause
    assert headers(dead)["x-dlq-error"]
    assert headers(dead)["x-dlq-topic"] == topics.COMMANDS
    assert (headers(dead)["x-dlq-partition"], headers(dead)["x-dlq-offset"]) == ("0", str(place))
    (shown,) = [row for row in stack.get("/dead-letters")["dead_letters"] if row["value"] == letter.decode()]
    assert (shown["offset"], shown["code"], shown["can_replay"]) == (place, cause, False)
    assert stack.post(f"/dead-letters/{shown['id']}/replay").json()["code"] == "still_undecodable"


def test_a_daemon_that_is_killed_in_a_failover_finishes_it_and_leaves_nothing_behind(stack: Stack) -> None:
    wait_until_healthy(stack, 3)
    stack.kill_host_of(3)
    failover = the_failover_of(stack, 3)["failover_id"]
    for step in ("rent_candidate", "restore"):
        stack.until(f"{step} has begun", lambda step=step: stack.has_begun(failover, step))
        stack.kill_daemon()
        stack.start_daemon()
    wait_for_success(stack, failover)
    wait_until_healthy(stack, 3)
    assert [row["failover_id"] for row in stack.failovers(3)] == [failover]
    stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
    stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
    assert not differences(stack)


def test_a_daemon_that_is_told_to_end_in_a_failover_ends_and_goes_on_at_its_next_start(stack: Stack) -> None:
    machines = {number: wait_until_healthy(stack, number) for number in (1, 2)}
    before = {number: len(stack.failovers(number)) for number in machines}
    names = ("gpu_instance_id", "ssh_host", "ssh_port")
    bodies = [{name: row[name] for name in names} | {"machine_id": number} for number, row in machines.items()]
    with ThreadPoolExecutor(6) as pool, _deaf_follower(stack):
        # Neither clients that wait for the end nor those that follow the events keep the daemon from ending.
        followers = [pool.submit(_followed, stack, 60.0) for _ in range(3)]
        clients = [pool.submit(stack.post, "/failover/execute", body, 60.0) for body in bodies]
        failovers = [the_failover_of(stack, number, before[number] + 1)["failover_id"] for number in machines]
        for failover in failovers:
            stack.until("candidates are rented", lambda failover=failover: stack.has_begun(failover, "rent_candidate"))
        code, seconds = stack.end_daemon()
        answers = [client.result(20) for client in clients]
        told = [follower.result(20) for follower in followers]
    assert [(answer.status_code, answer.json()["failover_id"]) for answer in answers] == [
        (503, one) for one in failovers
    ]
    assert code == 0
    assert seconds < 10
    assert all(text.rstrip().split("\n\n")[-1].startswith("event: closing") for text in told)
    stack.start_daemon()
    for number, failover in zip(machines, failovers, strict=True):
        wait_for_success(stack, failover)
        assert wait_until_healthy(stack, number)["gpu_instance_id"] != machines[number]["gpu_instance_id"]
        assert len(stack.failovers(number)) == before[number] + 1
    last = next(line[4:] for line in reversed(told[0].splitlines()) if line.startswith("id: "))
    rest = _followed(stack, 10.0, {"follow": "false"}, {"Last-Event-ID": last})
    assert "event: reset" not in rest
    assert all(f'"failover_id":"{failover}","machine_id"' in rest for failover in failovers), rest


def _followed(
    stack: Stack, timeout_s: float, query: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> str:
    """All that the stream of events says, until it ends by itself."""
    url = f"{stack.voice.url}/api/v1/events"
    return httpx.get(url, params=query, headers={**BEARER, **(headers or {})}, timeout=timeout_s).text


@contextmanager
def _deaf_follower(stack: Stack) -> Iterator[None]:
    """A client of the events that never reads and never leaves."""
    host, _, port = stack.voice.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        lines = ["GET /api/v1/events?after=0 HTTP/1.1", "Host: x", f"Authorization: {BEARER['Authorization']}", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        yield


def test_a_daemon_that_stood_still_for_minutes_condemns_nobody_when_it_goes_on(stack: Stack) -> None:
    beating = (1, 2, 3, 5)
    for number in beating:
        wait_until_healthy(stack, number)
    before = {number: len(stack.failovers(number)) for number in beating}
    rented = {row["id"] for row in stack.world()["instances"]}
    stack.pause_daemon()
    try:
        stack.never("a rental moves", lambda: {row["id"] for row in stack.world()["instances"]} != rented, 2 * MINUTE)
    finally:
        stack.resume_daemon()

    def condemned() -> list[int]:
        return [number for number in beating if len(stack.failovers(number)) != before[number]]

    stack.never("a failover", condemned, MINUTE)
    for number in beating:
        wait_until_healthy(stack, number)
    assert not condemned()


def test_a_machine_that_only_lost_its_agent_is_watched_and_not_replaced(stack: Stack) -> None:
    wait_until_healthy(stack, 4)
    before = stack.failovers(4)
    number = silence(stack, 4)
    stack.never("a failover", lambda: [row for row in stack.failovers(4) if row not in before], 1.5 * MINUTE)
    machine = stack.machine(4)
    assert machine["state"] == "detecting"
    assert "degraded monitoring" in machine["because"]
    assert "SSH port answers" in machine["because"]
    assert machine["gpu_instance_id"] == number
    assert stack.instance(number)["serving"]


@pytest.mark.parametrize(
    "fault",
    [
        {"endpoint": "*", "kind": "status", "status": 500},
        {"endpoint": "list_instances", "kind": "empty_list"},
        {"endpoint": "*", "kind": "empty_list"},
    ],
    ids=["answers 500", "lists no instance", "lists no instance and no offer"],
)
def test_a_provider_that_fails_condemns_nobody_and_the_dead_are_recovered_after_it(
    stack: Stack, fault: dict[str, Any]
) -> None:
    beating = (1, 2, 3)
    for number in (*beating, 5):
        wait_until_healthy(stack, number)
    silence(stack, 4)
    before = {number: len(stack.failovers(number)) for number in (*beating, 4, 5)}
    # Beside an empty listing the single read goes on to tell the truth, so the dead one may be condemned by that.
    unjudged = (*beating, 4, 5) if fault["kind"] == "status" else (*beating, 4)

    def condemned(machines: tuple[int, ...] = unjudged) -> list[str]:
        rows = {row["id"]: row for row in stack.get("/machines")["machines"]}
        found = [f"machine {one} is {rows[one]['state']}" for one in beating if rows[one]["state"] != "healthy"]
        found += [] if rows[4]["state"] == "detecting" else [f"machine 4 is {rows[4]['state']}"]
        return found + [f"machine {one} fails over" for one in machines if len(stack.failovers(one)) != before[one]]

    stack.sim("POST", "/faults", fault)
    try:
        old = stack.kill_host_of(5)
        stack.never("a verdict", condemned, 0.5 * MINUTE)
        stack.until("its silence is noticed", lambda: stack.machine(5)["state"] != "healthy")
        stack.never("a verdict", condemned, 1.5 * MINUTE)
    finally:
        stack.sim("DELETE", "/faults")
    failover = the_failover_of(stack, 5, before[5] + 1)["failover_id"]
    wait_for_success(stack, failover)
    assert wait_until_healthy(stack, 5)["gpu_instance_id"] != old
    assert not condemned((*beating, 4))
