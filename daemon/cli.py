"""The command `failoverd`. The agent starts before anything else is imported: its machine's memory is the workload's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

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

    if COMPLETE in os.environ:
        from typer._completion_classes import completion_init  # Typer calls it only beside its own install option.

        completion_init()
    _printing(lambda: app(prog_name="failoverd"))


def _printing(work: Callable[[], object]) -> None:
    """Whatever prints, and however late it is written out: where nobody reads on, or nothing more can be written, that is an
    end with a code of its own."""
    from daemon.screens import NOBODY_READS, UNWRITTEN, NobodyReads, is_unwritten, leave_the_pipe

    try:
        try:
            work()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except (NobodyReads, BrokenPipeError):
        leave_the_pipe()
        sys.exit(NOBODY_READS)
    except OSError as error:
        if not is_unwritten(error):
            raise
        leave_the_pipe()
        print(f"error[output_lost] what is to be printed cannot be written: {error.strerror}", file=sys.stderr)
        print("  remedy  make room there, or print elsewhere; what was asked may be done all the same", file=sys.stderr)
        sys.exit(UNWRITTEN)


if __name__ == "__main__":
    main()
