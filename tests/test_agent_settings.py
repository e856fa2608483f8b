"""The agent's command line: flags before environment, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.agent_settings import AgentSettings, KafkaSecurity, parse

IDS = ["--machine-id", "123", "--instance-id", "7001"]


def test_flags_make_settings(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    argv = [*IDS, "--interval", "2.5", "--url", "https://failoverd:8443/", "--token-file", str(token), "--gpus", "8"]
    assert parse([*argv, "--status-file", str(tmp_path / "s.json")], {}) == AgentSettings(
        123,
        7001,
        2.5,
        url="https://failoverd:8443",
        token_file=token,
        gpus=8,
        status_file=tmp_path / "s.json",
    )


def test_the_environment_alone_is_enough() -> None:
    env = {
        "FAILOVERD_MACHINE_ID": "5",
        "FAILOVERD_INSTANCE_ID": "6",
        "FAILOVERD_KAFKA": "a:9092,b:9092",
        "FAILOVERD_TOPIC_PREFIX": "blue.",
        "FAILOVERD_BEAT_TOKEN": "secret",
        "FAILOVERD_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "FAILOVERD_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "FAILOVERD_KAFKA_USERNAME": "m5",
        "FAILOVERD_KAFKA_PASSWORD": "hush",
    }
    settings = parse([], env)
    assert (settings.machine_id, settings.instance_id, settings.kafka, settings.url) == (5, 6, "a:9092,b:9092", None)
    assert (settings.topic_prefix, settings.token, settings.interval_s) == ("blue.", "secret", 10.0)
    assert settings.security == KafkaSecurity("SASL_SSL", None, "SCRAM-SHA-512", "m5", "hush")
    assert settings.status_file == Path("~/.failoverd/agent.json").expanduser()
    assert "secret" not in repr(settings)
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("env", "instance"),
    [
        ({"FAILOVERD_INSTANCE_ID": "1", "CONTAINER_ID": "2", "VAST_CONTAINERLABEL": "C.3"}, 1),
        ({"CONTAINER_ID": "2", "VAST_CONTAINERLABEL": "C.3"}, 2),
        ({"VAST_CONTAINERLABEL": "C.3"}, 3),
    ],
)
def test_the_instance_is_what_the_provider_calls_it(env: dict[str, str], instance: int) -> None:
    assert parse(["--machine-id", "1", "--kafka", "k:9092"], env).instance_id == instance


def test_a_flag_for_the_way_goes_before_the_environments_other_way() -> None:
    settings = parse([*IDS, "--url", "http://d:8080"], {"FAILOVERD_KAFKA": "k:9092"})
    assert (settings.url, settings.kafka) == ("http://d:8080", None)


@pytest.mark.parametrize(
    ("argv", "env", "flag", "remedy"),
    [
        (IDS, {}, "--kafka", "give --kafka host:port"),
        ([*IDS, "--kafka", "k:1", "--url", "http://d"], {}, "--url", "leave one out"),
        (IDS, {"FAILOVERD_KAFKA": "k:1", "FAILOVERD_URL": "http://d"}, "--url", "leave one out"),
        (["--instance-id", "1", "--kafka", "k:1"], {}, "--machine-id", "FAILOVERD_MACHINE_ID"),
        (["--machine-id", "1", "--kafka", "k:1"], {}, "--instance-id", "FAILOVERD_INSTANCE_ID"),
        (["--machine-id", "m-1", "--kafka", "k:1"], {}, "--machine-id", "give a whole number"),
        (["--machine-id", "1", "--kafka", "k:1"], {"CONTAINER_ID": "a1b2"}, "--instance-id", "give a whole number"),
        ([*IDS, "--kafka", "k:1", "--interval", "0"], {}, "--interval", "seconds from 0.05 to 86400"),
        ([*IDS, "--kafka", "k:1", "--interval", "nan"], {}, "--interval", "seconds from 0.05 to 86400"),
        ([*IDS, "--kafka", "http://k:1"], {}, "--kafka", "without a scheme"),
        (IDS, {"FAILOVERD_KAFKA": "k"}, "--kafka", "host:port"),
        ([*IDS, "--url", "d:8080"], {}, "--url", "give http://host:port"),
        ([*IDS, "--url", "http://d", "--token-file", "no/such"], {}, "--token-file", "name a file"),
        ([*IDS, "--kafka", "k:1", "--kafka-security-protocol", "TLS"], {}, "--kafka-security-protocol", "give one of"),
        ([*IDS, "--kafka", "k:1", "--kafka-security-protocol", "SASL_SSL"], {}, "--kafka-username", "PASSWORD"),
    ],
)
def test_an_error_names_the_flag_and_the_remedy_and_exits_with_2(
    argv: list[str], env: dict[str, str], flag: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(argv, env)
    assert exit_.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert flag in line
    assert remedy in line
