"""`python -m perf`: measure, keep the outcome in results/perf, render docs/reference/performance.md, print the reach.

A part (`--select`) replaces the cases that it measured, if the rest is from the same machine and packages.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.system import paths
from bench.system.errors import BenchError
from perf import summary


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="perf", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cpu", help="where methods and attention are measured (default cpu)")
    parser.add_argument("--toy", action="store_true", help="small sizes only, and write nothing")
    parser.add_argument("--select", metavar="WORDS", help="only these, in the syntax of pytest's -k")
    parser.add_argument("--runs-of", metavar="NAME", default="demo", help="benchmark of the case `jobs` (default demo)")
    parser.add_argument("--data", metavar="FOLDER", help="of its data")
    parser.add_argument("--seeds", type=int, default=1, help="of each of its methods (default 1)")
    parser.add_argument("--render", action="store_true", help="measure nothing: render the page from results/perf")
    parser.add_argument("--check", action="store_true", help="measure nothing: fail if the page is out of date")
    options = parser.parse_args(arguments)
    if options.render or options.check:
        return render(check=options.check)

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        status = pytest.main(call(options, report))
        if status == pytest.ExitCode.NO_TESTS_COLLECTED:
            print(f"no case fits {options.select!r}: words of docs/reference/performance.md, as in -k", file=sys.stderr)
            return 2
        if status:
            return int(status)
        cases = summary.condense(json.loads(report.read_text(encoding="utf-8")))
    print("\n\n".join(summary.tables(cases)))
    if options.toy:
        print(f"\n{summary.reached(cases)}\n\nToy sizes: these verdicts say nothing, and nothing is written.")
        return 0
    try:
        cases = summary.merged(cases, options.device, part=options.select is not None)
    except BenchError as error:
        print(f"\n{summary.reached(cases)}\n\n{error}", file=sys.stderr)
        return 2
    written = summary.write(cases, options.device)
    print(f"\n{summary.reached(cases)}\n")
    for file in written:
        print(f"written  {paths.shown(file)}")
    return 0


def call(options: argparse.Namespace, report: Path) -> list[str]:
    """The arguments for pytest."""
    given = [str(Path(__file__).parent), f"--device={options.device}", f"--runs-of={options.runs_of}"]
    given += [f"--seeds={options.seeds}", *([f"--data={options.data}"] if options.data else [])]
    given += ["--benchmark-quiet", f"--benchmark-json={report}", "-p", "no:cacheprovider", "-rs"]
    left_out = [*(["published"] if options.toy else []), *([] if options.select else ["long"])]
    given += ["--toy"] if options.toy else []
    given += ["-m", " and ".join(f"not {mark}" for mark in left_out)] if left_out else []
    return given + (["-k", options.select] if options.select else [])


def render(check: bool) -> int:
    """Bring the page up to date with results/perf, or say that it is not."""
    drifted = summary.render(check=check)
    for file in drifted:
        print(f"{'out of date' if check else 'written'}  {paths.shown(file)}")
    if check and drifted:
        print("run: python -m perf --render", file=sys.stderr)
    return int(check and bool(drifted))


if __name__ == "__main__":
    sys.exit(main())
