"""`python -m perf`: measure everything, write results/perf and docs/reference/performance.md; or measure a part."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.system import paths
from perf import summary


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="perf", description=__doc__)
    parser.add_argument("--device", default="cpu", help="where methods and attention are measured (default cpu)")
    parser.add_argument("--toy", action="store_true", help="leave the published sizes out, and write nothing")
    parser.add_argument("--select", metavar="WORDS", help="only these, in the syntax of pytest's -k, and write nothing")
    options = parser.parse_args(arguments)

    chosen = ["-m", "not published"] if options.toy else []
    chosen += ["-k", options.select] if options.select else []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        quiet = ["--benchmark-quiet", f"--benchmark-json={report}", "-p", "no:cacheprovider"]
        status = pytest.main([str(Path(__file__).parent), f"--device={options.device}", *quiet, *chosen])
        if status:
            return int(status)
        cases = summary.condense(json.loads(report.read_text(encoding="utf-8")))
    print("\n\n".join(summary.tables(cases)))
    if not chosen:
        for file in summary.write(cases, options.device):
            print(f"written  {paths.shown(file)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
