"""The command `failoverd`. The agent starts before anything else is imported: its machine's memory is the workload's."""

from __future__ import annotations

import sys


def main() -> None:
    """Dispatch: `agent` to its own small program, everything else to the commands."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["agent"]:
        from daemon import agent_process

        sys.exit(agent_process.main(arguments[1:]))
    from daemon.cli_app import app
    from daemon.screens import NOBODY_READS, NobodyReads

    try:
        app(prog_name="failoverd")
    except NobodyReads:
        sys.exit(NOBODY_READS)


if __name__ == "__main__":
    main()
