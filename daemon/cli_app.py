"""The command `failoverd`: what runs here by itself, and the verbs that ask the daemon (cli_reading, cli_acting).

Each command imports what it needs when it runs, so that none waits for another.
"""

from __future__ import annotations

from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon import cli_acting, cli_export, cli_reading, cli_token
from daemon.cli_local import config_app, db_app, doctor

if TYPE_CHECKING:
    from daemon.simulation.scenarios import Scenario

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps rented GPU machines serving. Begin with: failoverd demo",
    epilog="Exit codes: 0 done, 2 usage, 3 accepted and still running, 4 not found, 5 refused, 6 failed, "
    "7 not allowed, 8 the daemon does not answer.",
)


class Weather(StrEnum):
    CALM = "calm"
    HARD = "hard"


class Sharing(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


class SimulatedStrategy(StrEnum):
    ALL = "all"
    WARM_POOL = "warm_pool"
    CPU_STANDBY = "cpu_standby"
    BOTH = "both"
    REGIONAL_VOLUME = "regional_volume"


Seed = Annotated[int, typer.Option(help="The same seed makes the same world.")]
WeatherOption = Annotated[Weather, typer.Option(help="hard: most rentals never come up, most offers are gone.")]
SharingOption = Annotated[
    Sharing, typer.Option("--volume-sharing", help="Whether two instances may mount one volume at a time.")
]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"failoverd {metadata.version('failoverd')}")
        raise typer.Exit


@app.callback()
def of_all_commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keeps rented GPU machines serving. Begin with: failoverd demo"""


@app.command()
def run(
    config: Annotated[Path | None, typer.Option(help="One YAML file; environment variables go before it.")] = None,
    http_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Where the API listens; 0: any.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="To stderr; json has one object in each line.")] = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    from daemon.cli_run import run_daemon

    raise typer.Exit(run_daemon(config, http_port, log_format.value if log_format else None))


@app.command()
def sim(
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="On loopback; port 0 is any.")] = "127.0.0.1:8790",
    seed: Seed = 1,
    speed: Annotated[float, typer.Option(min=0.1, max=1000, help="How many times faster its time passes.")] = 1.0,
    weather: WeatherOption = Weather.CALM,
    volume_sharing: SharingOption = Sharing.ALLOWED,
    api_key: Annotated[str | None, typer.Option(help="Refuse every other key.", show_default=False)] = None,
    machines: Annotated[int, typer.Option(min=0, max=5000, help="Running instances to begin with.")] = 0,
    agents_kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Their agents beat to Kafka.")] = None,
    agents_url: Annotated[str | None, typer.Option(metavar="URL", help="Their agents beat to a daemon.")] = None,
    agents_secret: Annotated[str | None, typer.Option(metavar="TOKEN", help="The daemon's token, for URL.")] = None,
    interval: Annotated[float, typer.Option(min=0.05, max=86400, help="Seconds between two heartbeats.")] = 10.0,
    hosts: Annotated[int, typer.Option(min=0, max=5000, help="Physical boxes on the market.")] = 32,
    warm_pool: Annotated[bool, typer.Option("--warm-pool", help="Each on a volume, with a standby.")] = False,
    ssh_key: Annotated[str | None, typer.Option(metavar="KEY", help="A public key that they accept.")] = None,
) -> None:
    """Serve a simulated provider: its real API, real SSH ports, real agents, and a control plane to break things."""
    from daemon.cli_sim import SimOptions, serve_world

    options = SimOptions(
        listen=listen,
        seed=seed,
        speed=speed,
        weather=weather.value,
        volume_sharing=volume_sharing.value,
        api_key=api_key,
        machines=machines,
        agents_kafka=agents_kafka,
        agents_url=agents_url,
        agents_secret=agents_secret,
        interval_s=interval,
        hosts=hosts,
        warm_pool=warm_pool,
        ssh_key=ssh_key,
    )
    raise typer.Exit(serve_world(options))


@app.command()
def demo(
    machines: Annotated[int, typer.Option(min=1, max=200, help="How many machines.")] = 6,
    kill: Annotated[
        int, typer.Option(min=0, max=200, help="How many die: by turns the instance crashes, or its whole host.")
    ] = 2,
    speed: Annotated[float, typer.Option(min=0.1, max=200, help="Simulated seconds in a real one.")] = 20.0,
    seed: Seed = 1,
    weather: WeatherOption = Weather.CALM,
    volume_sharing: SharingOption = Sharing.ALLOWED,
    timeout: Annotated[float, typer.Option(min=1, help="Real seconds after which the demo gives up.")] = 170.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Watch a whole failover: a simulated provider, real agents, the real daemon, and machines that die."""
    from daemon.demo import DemoOptions, run_demo

    if kill > machines:
        raise typer.BadParameter(f"cannot kill {kill} of {machines} machines", param_hint="--kill")
    options = DemoOptions(machines, kill, speed, seed, weather.value, volume_sharing.value, timeout, as_json)
    raise typer.Exit(run_demo(options))


@app.command()
def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many, spread over the scenarios.")] = 12,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
    scenario: Annotated[
        str,
        typer.Option(
            metavar="S1..S12|all", help="Several are separated by commas; S1-full and others are of full size."
        ),
    ] = "all",
    strategy: Annotated[SimulatedStrategy, typer.Option(help="Of every machine; all: drawn for each.")] = (
        SimulatedStrategy.ALL
    ),
    seed: Annotated[int | None, typer.Option(help="Replay this one, and tell its story.", show_default=False)] = None,
    events: Annotated[
        str | None, typer.Option(help="With --seed: only these weather events, by number.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Hold the whole daemon against its invariants, on a virtual clock, in weather that follows from a seed."""
    from daemon.simulate import SimulateOptions, run_simulation
    from daemon.simulation.full_size import EVERYTHING

    unknown = [] if scenario == "all" else [name for name in scenario.split(",") if name not in EVERYTHING]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]} is not one of {', '.join(EVERYTHING)}", param_hint="--scenario")
    if events is not None and (seed is None or "," in scenario or scenario == "all"):
        raise typer.BadParameter(
            "it needs --seed and one --scenario: the numbers are that play's", param_hint="--events"
        )
    kept = None if events is None or seed is None else _chosen_events(events, EVERYTHING[scenario], seed, strategy)
    options = SimulateOptions(seeds, first, scenario, strategy.value, seed, kept, as_json, workers)
    raise typer.Exit(run_simulation(options))


def _chosen_events(text: str, scenario: Scenario, seed: int, strategy: SimulatedStrategy) -> tuple[int, ...]:
    """`none`, or numbers of the weather events of that play. Raise BadParameter."""
    if text == "none":
        return ()
    count = len(scenario.events(seed, strategy.value))
    places = [int(place) if place.isdecimal() else -1 for place in text.split(",")]
    if not all(0 <= place < count for place in places):
        wanted = f"none, or numbers from 0 to {count - 1}, separated by commas" if count else "none: there is no event"
        raise typer.BadParameter(f"{text!r} is not {wanted}", param_hint="--events")
    return tuple(places)


@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def agent(
    arguments: Annotated[list[str] | None, typer.Argument(help="See: failoverd agent --help", metavar="...")] = None,
) -> None:
    """Send this machine's heartbeats (runs on the GPU machine; see: failoverd agent --help)."""
    from daemon.agent_process import main

    raise typer.Exit(main(arguments or []))


@app.command()
def version() -> None:
    """Print the version."""
    _print_version(True)


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="Which shell's script.")],
) -> None:
    """Print the script that completes verbs, options and machine names: source <(failoverd completion bash)"""
    from typer._completion_shared import get_completion_script

    from daemon.cli import COMPLETE

    typer.echo(get_completion_script(prog_name="failoverd", complete_var=COMPLETE, shell=shell.value))


# After the commands above, in the order of the help.
for group in (cli_reading.app, cli_acting.app):
    app.add_typer(group)
app.add_typer(cli_reading.machines, name="machines")
app.add_typer(cli_reading.snapshots, name="snapshot")
app.add_typer(cli_reading.letters, name="dlq")
app.add_typer(cli_reading.settings, name="settings")
app.add_typer(cli_export.app, name="export")
app.add_typer(config_app, name="config")
app.add_typer(db_app, name="db")
app.command("doctor")(doctor)
app.add_typer(cli_acting.notify, name="notify")
app.add_typer(cli_token.app, name="token")
app.command()(cli_token.audit)
