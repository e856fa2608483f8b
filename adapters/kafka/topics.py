"""Creates topics with the settings that we need, and says what is wrong with those that are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from adapters.kafka.settings import KafkaSettings
from events.topics import TopicProblem, TopicSpec


async def ensure_topics(settings: KafkaSettings, specs: Sequence[TopicSpec]) -> tuple[TopicProblem, ...]:
    """Create what is missing. Raise aiokafka's errors where the broker is away; a refusal is a problem, not an error."""
    admin = AIOKafkaAdminClient(**settings.client_arguments())
    try:
        await admin.start()
        found = {name: len(numbers) for name, numbers in (await _all_topics(admin)).items()}
        missing = [spec for spec in specs if spec.name not in found]
        refused = await _create(admin, missing, settings) if missing else ()
        present = [spec for spec in specs if spec.name in found]
        return (
            *refused,
            *_wrong_partitions(present, found, settings),
            *await _wrong_settings(admin, present, settings),
        )
    finally:
        await admin.close()


async def look_at_topics(
    settings: KafkaSettings, specs: Sequence[TopicSpec]
) -> tuple[tuple[str, ...], tuple[TopicProblem, ...]]:
    """Which are missing, and what is wrong with those that are there; creates nothing. Raise aiokafka's errors."""
    admin = AIOKafkaAdminClient(**settings.client_arguments())
    try:
        await admin.start()
        found = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        present = [spec for spec in specs if spec.name in found]
        wrong = (*_wrong_partitions(present, found, settings), *await _wrong_settings(admin, present, settings))
        return tuple(spec.name for spec in specs if spec.name not in found), wrong
    finally:
        await admin.close()


async def partitions(settings: KafkaSettings, topic: str) -> Sequence[int]:
    """The numbers of the topic's partitions; none where there is no such topic. Raise aiokafka's errors."""
    admin = AIOKafkaAdminClient(**settings.client_arguments())
    try:
        await admin.start()
        return (await _all_topics(admin)).get(topic, ())
    finally:
        await admin.close()


async def _all_topics(admin: Any) -> Mapping[str, Sequence[int]]:
    """Of all topics: to ask for a topic by name creates it on brokers that create topics by themselves."""
    topics = await admin.describe_topics()
    return {topic["topic"]: sorted(part["partition"] for part in topic["partitions"]) for topic in topics}


async def _create(admin: Any, specs: Sequence[TopicSpec], settings: KafkaSettings) -> tuple[TopicProblem, ...]:
    response = await admin.create_topics([_new_topic(spec, settings.replication_factor) for spec in specs])
    errors = {name: (code, text) for name, code, text in response.topic_errors}
    problems = []
    for spec in specs:
        code, text = errors[spec.name]
        error = for_code(code)
        # Another replica that starts at the same time creates the same topic with the same settings.
        if code == 0 or error is TopicAlreadyExistsError:
            continue
        if error.retriable:
            raise error(text or spec.name)
        found = f"missing, and its creation was refused ({text or error.__name__})"
        problems.append(TopicProblem(spec.name, "topic", found, "there", _create_command(spec, settings)))
    return tuple(problems)


def _new_topic(spec: TopicSpec, replication_factor: int) -> NewTopic:
    # aiokafka takes the broker's default replication only together with an (empty) list of assignments.
    assignments: dict[int, list[int]] | None = {} if replication_factor == -1 else None
    return NewTopic(spec.name, spec.partitions, replication_factor, assignments, dict(spec.settings))


def _wrong_partitions(
    specs: Iterable[TopicSpec], found: Mapping[str, int], settings: KafkaSettings
) -> Iterable[TopicProblem]:
    for spec in specs:
        count = found[spec.name]
        if count < spec.partitions:
            remedy = f"{_tool('kafka-topics', settings)} --alter --topic {spec.name} --partitions {spec.partitions}"
            yield TopicProblem(spec.name, "partitions", str(count), str(spec.partitions), remedy)
        elif count > spec.partitions:
            remedy = f"configure failoverd with {count} partitions for it, or delete the topic and let it be created"
            yield TopicProblem(spec.name, "partitions", str(count), str(spec.partitions), remedy)


async def _wrong_settings(admin: Any, specs: Iterable[TopicSpec], settings: KafkaSettings) -> list[TopicProblem]:
    checked = {spec.name: spec for spec in specs if spec.settings}
    if not checked:
        return []
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict(spec.settings)) for name, spec in checked.items()]
    problems: list[TopicProblem] = []
    for response in await admin.describe_configs(resources):
        for code, text, _, name, entries in response.resources:
            if code != 0:
                problems.append(_unreadable(checked[name], text or for_code(code).__name__, settings))
                continue
            values = {entry[0]: entry[1] for entry in entries}
            problems.extend(_differences(checked[name], values, settings))
    return problems


def _differences(spec: TopicSpec, values: Mapping[str, str], settings: KafkaSettings) -> Iterable[TopicProblem]:
    for setting, wanted in spec.settings.items():
        found = values.get(setting) or "not set"
        if _as_set(found) != _as_set(wanted):
            value = f"[{wanted}]" if "," in wanted else wanted
            remedy = (
                f"{_tool('kafka-configs', settings)} --alter --entity-type topics --entity-name {spec.name} "
                f"--add-config {setting}={value}"
            )
            yield TopicProblem(spec.name, setting, found, wanted, remedy)


def _unreadable(spec: TopicSpec, why: str, settings: KafkaSettings) -> TopicProblem:
    user = settings.sasl_username or "USER"
    remedy = (
        f"{_tool('kafka-acls', settings)} --add --allow-principal User:{user} "
        f"--operation DescribeConfigs --topic {spec.name}"
    )
    wanted = ", ".join(f"{setting}={value}" for setting, value in spec.settings.items())
    return TopicProblem(spec.name, "settings", f"not readable ({why})", wanted, remedy)


def _create_command(spec: TopicSpec, settings: KafkaSettings) -> str:
    configs = "".join(f" --config {setting}={value}" for setting, value in spec.settings.items())
    return f"{_tool('kafka-topics', settings)} --create --topic {spec.name} --partitions {spec.partitions}{configs}"


def _tool(name: str, settings: KafkaSettings) -> str:
    return f"{name}.sh --bootstrap-server {settings.bootstrap}"


def _as_set(value: str) -> frozenset[str]:
    """Lists such as cleanup.policy have no order."""
    return frozenset(part.strip() for part in value.split(","))
