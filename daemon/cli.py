"""The command `failoverd`. The agent starts before anything else is imported: its machine's memory is the workload's."""

from __future__ import annotations

import os
import sys

COMPLETE = "_FAILOVERD_COMPLETE"
"""The shell's script (`failoverd completion bash`) asks by this variable what could stand next."""


def main() -> None:
    """Dispatch: `agent` and `snapshot` to their own small programs, everything else to the commands."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["agent"]:
        from daemon import agent_process

        sys.exit(agent_process.main(arguments[1:]))
    if arguments[:1] == ["snapshot"] and arguments[1:2] not in (["list"], ["take"], ["--help"], ["-h"]):
        from daemon import snapshot_process

        sys.exit(snapshot_process.main(arguments[1:]))
    from daemon.cli_app import app
    from daemon.screens import NOBODY_READS, NobodyReads

    if COMPLETE in os.environ:
        from typer._completion_classes import completion_init  # Typer calls it only beside its own install option.

        completion_init()
    try:
        app(prog_name="failoverd")
    except NobodyReads:
        sys.exit(NOBODY_READS)


if __name__ == "__main__":
    main()
