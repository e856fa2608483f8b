"""The broker as the settings want it: where it is, who we are there, and whom we trust."""

from __future__ import annotations

from adapters.kafka import KafkaSettings
from daemon.settings import Kafka


def kafka_settings(kafka: Kafka) -> KafkaSettings:
    return KafkaSettings(
        bootstrap=kafka.bootstrap,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
        ssl_cafile=str(kafka.ssl_cafile) if kafka.ssl_cafile else None,
        ssl_certfile=str(kafka.ssl_certfile) if kafka.ssl_certfile else None,
        ssl_keyfile=str(kafka.ssl_keyfile) if kafka.ssl_keyfile else None,
        ssl_key_password=kafka.ssl_key_password.get_secret_value() if kafka.ssl_key_password else None,
        ssl_check_hostname=kafka.ssl_check_hostname,
        replication_factor=kafka.replication_factor,
    )
