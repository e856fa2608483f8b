"""The verbs that read: each asks the daemon, and prints its answer as -o says."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli_options import Follow, Form, MachineName, TokenFile, Url, client
from daemon.cli_output import Output

app = typer.Typer()
machines = typer.Typer(invoke_without_command=True, help="List the machines; show, register and remove one.")
snapshots = typer.Typer(
    no_args_is_help=True, help="List a machine's snapshots, or take one of this machine's workspace."
)
settings = typer.Typer(
    no_args_is_help=True, help="The policy's settings, of the fleet and of machines: show, set, reset."
)
letters = typer.Typer(no_args_is_help=True, help="What could not be read from the log: list it, and replay it.")


class MachineState(StrEnum):
    """As in `failoverd states`."""

    HEALTHY = "healthy"
    DETECTING = "detecting"
    WARM_POOL_ATTEMPT = "warm_pool_attempt"
    CPU_STANDBY_ATTEMPT = "cpu_standby_attempt"
    REGIONAL_VOLUME_ATTEMPT = "regional_volume_attempt"
    RECOVERED = "recovered"
    FAILED = "failed"


class FailoverState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


OfMachine = Annotated[
    str | None,
    typer.Option("--machine", "-m", help="Of this one; else the fleet's.", show_default=False),
]
State = Annotated[MachineState | None, typer.Option(help="Only those in this state.", show_default=False)]


@app.command()
def status(
    output: Form = Output.TABLE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every two seconds, until Ctrl-C.")] = False,
    short: Annotated[bool, typer.Option("--short", help="One line, for a prompt.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Show every machine: its state, its instance, its price, and its last failover."""
    from daemon.cli_show import show_status

    with client(url, token_file) as api:
        show_status(api, output, watch=watch, short=short)


@app.command()
def top(url: Url = None, token_file: TokenFile = None) -> None:
    """Watch the whole screen: the machines, and the timeline of each failover that runs."""
    from daemon.cli_top import show_top

    with client(url, token_file) as api:
        show_top(api)


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="FAILOVER|MACHINE|last", help="fo_..., a machine, or `last`.")],
    output: Form = Output.TABLE,
    follow: Follow = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Show the timeline of one failover: each step with its time, its tries and its errors."""
    from daemon.cli_show import show_failover

    with client(url, token_file) as api:
        show_failover(api, what, output, follow=follow)


@app.command()
def history(
    machine: Annotated[
        str | None, typer.Option("--machine", "-m", help="Only of this one.", show_default=False)
    ] = None,
    state: Annotated[FailoverState | None, typer.Option(help="Only those.", show_default=False)] = None,
    trigger: Annotated[
        str | None, typer.Option(help="Only those: heartbeat_lost, drill, ...", show_default=False)
    ] = None,
    since: Annotated[str | None, typer.Option(help="An age (30d) or a time (ISO 8601).", show_default=False)] = None,
    after: Annotated[
        str | None, typer.Option(metavar="FAILOVER", help="The last one of the page before.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="So many; 0: all.")] = 50,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """List the failovers that there were, the newest first."""
    from daemon.cli_history import Filters, show_history

    filters = Filters(machine, state.value if state else None, trigger, since, after, limit)
    with client(url, token_file) as api:
        show_history(api, filters, output)


@app.command()
def report(
    since: Annotated[str, typer.Option(help="An age (90m, 24h, 30d, 2w) or a time (ISO 8601).")] = "30d",
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Sum up the failovers since a time: how many, how many succeeded, how long each phase took, and the money."""
    from daemon.cli_history import show_report

    with client(url, token_file) as api:
        show_report(api, since, output)


@app.command()
def queue(output: Form = Output.TABLE, url: Url = None, token_file: TokenFile = None) -> None:
    """Show which dead machines wait for their failover, in which order and for what; and whether a pause or a storm stands."""
    from daemon.cli_queue import show_queue

    with client(url, token_file) as api:
        show_queue(api, output)


@app.command()
def orphans(output: Form = Output.TABLE, url: Url = None, token_file: TokenFile = None) -> None:
    """Show what is paid for and belongs to no machine, with its cost per day."""
    from daemon.cli_orphans import show_orphans

    with client(url, token_file) as api:
        show_orphans(api, output)


@app.command()
def check(
    machine: Annotated[
        str | None, typer.Argument(metavar="[MACHINE]", help="Only this one.", show_default=False)
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Only whether the daemon lives; needs no token.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Say in one line whether all is well, with the exit codes of Nagios: 0 OK, 1 warning, 2 critical, 3 unknown."""
    from daemon import cli_check

    with client(url, token_file) as api:
        raise typer.Exit(cli_check.check_live(api) if live else cli_check.check(api, machine))


@app.command()
def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Each new one as it happens, until Ctrl-C.")] = False,
    machine: Annotated[str | None, typer.Option(help="Only those of this machine.", show_default=False)] = None,
    after: Annotated[int | None, typer.Option(min=0, help="Those after this number.", show_default=False)] = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Show every change of machines and failovers: of the last hour, or with -f as it happens; JSON is one in each line."""
    from daemon.cli_events import show_events

    with client(url, token_file) as api:
        show_events(api, machine=machine, after=after, follow=follow, output=output)


@app.command()
def logs(
    machine: MachineName,
    tail: Annotated[int, typer.Option(min=1, max=1000, help="So many lines, the last ones.")] = 100,
    host: Annotated[bool, typer.Option("--host", help="What the host's daemon said of the container instead.")] = False,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Print what a machine's container has printed, as its provider has it."""
    from daemon import cli_logs

    with client(url, token_file) as api:
        cli_logs.show_logs(api, machine, tail, host, output)


@app.command("ssh-config")
def ssh_config(
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there, for an Include in ~/.ssh/config.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Write it again whenever a machine has moved.")] = False,
    user: Annotated[str, typer.Option(help="Whom to log in as.")] = "root",
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Print, or write, an OpenSSH include file that points at each machine's present instance."""
    from daemon.cli_ssh_config import Files, print_config, write_config

    if watch and write is None:
        raise typer.BadParameter("--watch needs a file to write: give --write FILE")
    files = Files.at((write or Path("~/.ssh/failoverd.conf")).expanduser().resolve())
    with client(url, token_file) as api:
        if write is None:
            print_config(api, user, files)
        else:
            write_config(api, user, files, watch=watch)


@app.command()
def states(
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a mermaid state diagram.")] = False,
    output: Form = Output.TABLE,
) -> None:
    """Print the life of a machine: every edge of the state table, and why it is followed."""
    from daemon.cli_show import show_states

    show_states(output, mermaid=mermaid)


# -- groups of verbs


@app.command()
def explain(machine: MachineName, output: Form = Output.TABLE, url: Url = None, token_file: TokenFile = None) -> None:
    """Tell why a machine did or did not fail over: every rule with its value, and what comes next."""
    from daemon import cli_control

    with client(url, token_file) as api:
        cli_control.explain(api, machine, output)


@settings.command("show")
def show_settings(
    machine: OfMachine = None,
    every: Annotated[bool, typer.Option("--all", help="The defaults, too.")] = False,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Show the settings that somebody said, and who: the file, the fleet's, the machine's own."""
    from daemon import cli_control

    with client(url, token_file) as api:
        cli_control.show_settings(api, machine, output, every=every)


@machines.callback()
def list_machines(
    context: typer.Context,
    state: State = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """List the machines; show, register and remove one."""
    from daemon import cli_machines

    if context.invoked_subcommand is not None:
        return
    with client(url, token_file) as api:
        cli_machines.list_machines(api, state.value if state else None, output)


@machines.command("show")
def show_machine(
    machine: MachineName, output: Form = Output.TABLE, url: Url = None, token_file: TokenFile = None
) -> None:
    """Show all that the daemon knows of one machine."""
    from daemon import cli_machines

    with client(url, token_file) as api:
        cli_machines.show_machine(api, machine, output)


@snapshots.command("list")
def list_snapshots(
    machine: MachineName,
    limit: Annotated[int, typer.Option(min=1, max=100, help="So many, the newest first.")] = 20,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """List the verified snapshots that a restore could choose from, the newest first."""
    from daemon import cli_snapshots

    with client(url, token_file) as api:
        cli_snapshots.list_snapshots(api, machine, limit, output)


@snapshots.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def take(
    arguments: Annotated[list[str] | None, typer.Argument(help="--order FILE, --speed X", metavar="...")] = None,
) -> None:
    """Take one of this machine's workspace now (runs on the GPU machine, whose agent does so at intervals)."""
    from daemon.snapshot_process import main

    raise typer.Exit(main(arguments or []))


@letters.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=500, help="So many, the newest first.")] = 50,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """List the records that could not be read, with the cause, and whether each can be replayed."""
    from daemon import cli_dlq

    with client(url, token_file) as api:
        cli_dlq.list_letters(api, limit, output)
