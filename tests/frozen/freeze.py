"""`python -m tests.frozen.freeze`: makes a set of half-done failovers with the present program.

A set is named after the present schema unless it is given a name. One that exists stands for the program of its time and
is not made anew; `--rewrite` does it all the same, and only for one of the present schema: while a set is being made.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from adapters.sql.migration import HEAD
from daemon.simulate import be_quiet
from tests.frozen.cases import CASES
from tests.frozen.play import FOLDER, cases_of, freeze, truth_of


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in cases_of(folder):
        old.with_suffix(".json").unlink()
        old.unlink()
    for case in CASES:
        sql, truth = freeze(case)
        (folder / f"{case.name}.sql").write_text(sql)
        (folder / f"{case.name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(truth), indent=1) + b"\n")
        print(f"{case.name:<40} {case.about}", flush=True)


def why_not(folder: Path, rewrite: bool) -> str | None:
    """Why the set may not be made; None where it may."""
    found = list(cases_of(folder))
    if not found:
        return None
    if not rewrite:
        return f"{folder.name} exists; give another name, or --rewrite"
    of = {truth_of(sql)["schema"] for sql in found}
    return None if of == {HEAD} else f"{folder.name} is of schema {', '.join(sorted(of))}, this program has {HEAD}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default=f"schema-{HEAD}")
    parser.add_argument("--rewrite", action="store_true")
    options = parser.parse_args()
    be_quiet()
    refused = why_not(FOLDER / options.name, options.rewrite)
    if refused is not None:
        sys.exit(refused)
    make(FOLDER / options.name)


if __name__ == "__main__":
    main()
