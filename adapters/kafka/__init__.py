"""The event log on a Kafka broker (aiokafka): the `EventLog` port for fleets with more than one replica."""

from __future__ import annotations

from adapters.kafka.consumer import KafkaConsumer
from adapters.kafka.log import KafkaLog
from adapters.kafka.settings import KafkaSettings

__all__ = ["KafkaConsumer", "KafkaLog", "KafkaSettings"]
