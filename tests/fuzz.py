"""`make fuzz`: Schemathesis against the API of a whole daemon beside a simulated provider, by the daemon's own document.

Each operation is tried with what the document allows and with what it forbids, and operations follow each other along the
document's links. No answer may be a server error, or one that the document does not promise.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from daemon.demo_stage import stage

ROOT = Path(__file__).parent.parent
SPEED = 60.0
MACHINES = 2
CONFIG = """
[checks.not_a_server_error]
enabled = false

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "413", "422", "503"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422"]

[[operations]]
include-path = ["/api/v1/failover/settings", "/api/v1/failover/settings/{machine_id}", "/api/v1/report", "/api/v1/tokens", "/api/v1/failover/execute", "/api/v1/failover/regional-volume/failover", "/api/v1/machines/{machine_id}", "/api/v1/failovers"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "413", "422", "503"]

[[operations]]
include-path-regex = ".*[{]machine_id[}].*"
[operations.checks.use_after_free]
enabled = false

[[operations]]
include-path = "/api/v1/events"
parameters = { "query.follow" = false }
"""
"""What a document cannot say is 400 in eight operations: which folders are a machine's own, what the fields of a registration,
a policy or a token are to each other, how a span of time is written, and which cursor was handed out. A machine that was removed and still beats registers itself again. A stream that is followed
never ends."""
_CASES = re.compile(r"(\d[\d,]*) generated")


@dataclass(frozen=True, slots=True)
class Outcome:
    is_clean: bool
    cases: int
    text: str


async def fuzz(examples: int, seed: int, phases: str, show: bool = False) -> Outcome:
    """`examples`: so many cases of each operation in each phase, at most."""
    with tempfile.TemporaryDirectory(prefix="failoverd-fuzz-") as name:
        folder = Path(name)
        (folder / "schemathesis.toml").write_text(CONFIG)
        async with stage(folder, SPEED, seed, "calm", "allowed", MACHINES) as everything:
            for person in await everything.load(MACHINES):
                await everything.register(person)
            command = _command(f"{everything.api_url}/openapi.json", everything.daemon.token, examples, seed, phases)
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.fuzz_hooks"},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            assert process.stdout is not None
            lines = []
            while line := await process.stdout.readline():
                lines.append(line.decode(errors="replace"))
                if show:
                    sys.stdout.write(lines[-1])
            code = await process.wait()
            everything.check()
    text = "".join(lines)
    found = _CASES.search(text)
    return Outcome(code == 0, int(found[1].replace(",", "")) if found else 0, text)


def _command(url: str, token: str, examples: int, seed: int, phases: str) -> list[str]:
    return [
        *(sys.executable, "-m", "schemathesis.cli", "run", url),
        *("--header", f"Authorization: Bearer {token}", "--phases", phases, "--max-examples", str(examples)),
        *("--seed", str(seed), "--request-timeout", "60", "--suppress-health-check", "all"),
        *(
            "--generation-allow-x00",
            "false",
            "--generation-database",
            "none",
            "--no-color",
            "--warnings",
            "off",
            "--continue-on-failure",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=2000, help="fewer are a failure")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    outcome = asyncio.run(fuzz(options.examples, options.seed, "examples,coverage,fuzzing,stateful", show=True))
    print(f"{outcome.cases} cases, {'nothing found' if outcome.is_clean else 'FAILED'}")
    sys.exit(0 if outcome.is_clean and outcome.cases >= options.cases else 1)


if __name__ == "__main__":
    main()
