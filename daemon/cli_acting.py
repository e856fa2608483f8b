"""The verbs that change something: each asks for the machine's name first where it is dangerous, and says what became of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli_options import Form, MachineName, TokenFile, Url, Why, Yes, client
from daemon.cli_output import Output
from daemon.cli_reading import OfMachine, letters, machines, settings

app = typer.Typer()
notify = typer.Typer(no_args_is_help=True, help="Whether those who are to be told of incidents can be reached.")


class Strategy(StrEnum):
    """What a failover may be told to try; `disabled` cannot be forced."""

    WARM_POOL = "warm_pool"
    CPU_STANDBY = "cpu_standby"
    BOTH = "both"
    REGIONAL_VOLUME = "regional_volume"


Forced = Annotated[Strategy | None, typer.Option(help="Instead of the machine's own.", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")]
Timeout = Annotated[float | None, typer.Option(min=0, help="Seconds to follow it; it goes on.", show_default=False)]


@app.command()
def failover(
    machine: MachineName,
    strategy: Forced = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen; touches nothing.")] = False,
    wait: Wait = True,
    timeout: Timeout = None,
    reason: Why = None,
    yes: Yes = False,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Move a machine to a new instance now, and follow it; the old instance is fenced."""
    from daemon.cli_failover import FailoverOptions, fail_over
    from daemon.cli_follow import Following

    following = Following(output, wait, timeout)
    options = FailoverOptions(machine, strategy.value if strategy else None, reason, yes, following, dry_run)
    with client(url, token_file) as api:
        raise typer.Exit(fail_over(api, options))


@app.command()
def drill(
    machine: MachineName,
    real: Annotated[bool, typer.Option("--real", help="Really fail over; without it nothing is touched.")] = False,
    strategy: Forced = None,
    wait: Wait = True,
    timeout: Timeout = None,
    reason: Why = None,
    yes: Yes = False,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Practise a failover: on paper, or for real and marked as a drill."""
    from daemon.cli_failover import FailoverOptions
    from daemon.cli_failover import drill as practise
    from daemon.cli_follow import Following

    following = Following(output, wait, timeout)
    options = FailoverOptions(machine, strategy.value if strategy else None, reason, yes, following, not real)
    with client(url, token_file) as api:
        raise typer.Exit(practise(api, options))


@app.command()
def cancel(
    what: Annotated[str, typer.Argument(metavar="FAILOVER|MACHINE|last", help="fo_..., a machine, or `last`.")],
    wait: Wait = True,
    timeout: Timeout = None,
    reason: Why = None,
    yes: Yes = False,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Ask a running failover to unwind; too late after its hand-over."""
    from daemon.cli_failover import cancel as call_off
    from daemon.cli_follow import Following

    with client(url, token_file) as api:
        raise typer.Exit(call_off(api, what, reason, Following(output, wait, timeout), yes=yes))


@app.command()
def retry(
    what: Annotated[str, typer.Argument(metavar="FAILOVER|MACHINE|last", help="fo_..., a machine, or `last`.")],
    strategy: Forced = None,
    wait: Wait = True,
    timeout: Timeout = None,
    reason: Why = None,
    yes: Yes = False,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Try again what failed: the same machine, the same strategy unless another is named."""
    from daemon.cli_control import retry as try_again
    from daemon.cli_follow import Following

    following, named = Following(output, wait, timeout), strategy.value if strategy else None
    with client(url, token_file) as api:
        raise typer.Exit(try_again(api, what, named, reason, following, yes=yes))


@app.command()
def ack(
    what: Annotated[str, typer.Argument(metavar="FAILOVER|MACHINE|last", help="fo_..., a machine, or `last`.")],
    comment: Annotated[
        str | None, typer.Option("--reason", "--comment", help="What is known of it.", show_default=False)
    ] = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Say that somebody knows how a failover ended: `status` and `queue` count those that failed and that nobody knows of."""
    from daemon import cli_control

    with client(url, token_file) as api:
        cli_control.ack(api, what, comment, output)


@app.command()
def pause(
    reason: Annotated[str, typer.Option("--reason", help="Why; everybody sees it.")],
    length: Annotated[str, typer.Option("--for", metavar="LENGTH", help="90s, 30m, 2h, 1d; a week at most.")],
    machine: Annotated[
        str | None, typer.Argument(metavar="[MACHINE]", help="Only this one; else the fleet.", show_default=False)
    ] = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """No automatic failover for a while, of the fleet or of one machine; it ends by itself."""
    from daemon import cli_control

    with client(url, token_file) as api:
        cli_control.pause(api, machine, length, reason, output)


@app.command()
def resume(
    machine: Annotated[
        str | None, typer.Argument(metavar="[MACHINE]", help="Only this one; else the fleet.", show_default=False)
    ] = None,
    reason: Why = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Automatic failover goes on, before the pause has ended."""
    from daemon import cli_control

    with client(url, token_file) as api:
        cli_control.resume(api, machine, reason, output)


Pairs = Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="NAME= takes back what was said.")]


@settings.command("set")
def set_(
    pairs: Pairs,
    machine: OfMachine = None,
    reason: Why = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Change what is named, of the fleet or of one machine; the rest stays."""
    from daemon import cli_control

    with client(url, token_file) as api:
        cli_control.change_settings(api, machine, pairs, reason, output)


@settings.command()
def reset(
    machine: MachineName, reason: Why = None, output: Form = Output.TABLE, url: Url = None, token_file: TokenFile = None
) -> None:
    """A machine follows the configuration and the fleet in everything again."""
    from daemon import cli_control

    with client(url, token_file) as api:
        cli_control.reset_settings(api, machine, reason, output)


@machines.command()
def register(
    number: Annotated[int, typer.Argument(metavar="ID", min=0, help="The machine's id.")],
    name: Annotated[str | None, typer.Option(help="Its name.", show_default=False)] = None,
    gpu_instance_id: Annotated[
        int | None, typer.Option(min=0, help="The instance that it is.", show_default=False)
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="How it is recovered; `disabled`, too.", show_default=False)
    ] = None,
    pair: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other field of PUT /machines/ID.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="YAML or JSON with the fields; options go before it.", show_default=False)
    ] = None,
    reason: Why = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Register a machine, or change what is named of it; prints its agent's token."""
    from daemon import cli_machines

    with client(url, token_file) as api:
        named = {"name": name, "gpu_instance_id": gpu_instance_id, "strategy": strategy}
        cli_machines.register(api, number, cli_machines.body_of(named, pair or (), file), reason, output)


@machines.command()
def remove(
    machine: MachineName, reason: Why = None, yes: Yes = False, url: Url = None, token_file: TokenFile = None
) -> None:
    """Forget a machine; its instance is left running."""
    from daemon import cli_machines

    with client(url, token_file) as api:
        cli_machines.remove(api, machine, reason, yes=yes)


@letters.command()
def replay(
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="As `failoverd dlq list` names it.")],
    reason: Why = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Append a dead letter to its topic once more, under its own id: it has one effect however often it comes."""
    from daemon import cli_dlq

    with client(url, token_file) as api:
        cli_dlq.replay(api, letter, reason, output)


@notify.command("test")
def notify_test(
    channel: Annotated[str | None, typer.Argument(metavar="[CHANNEL]", help="All of them without.")] = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Send each channel a message for trial; 6 where any of them did not take it."""
    from daemon.cli_notify import try_channels

    with client(url, token_file) as api:
        raise typer.Exit(try_channels(api, channel, output))
