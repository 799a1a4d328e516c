"""The cold start: a new process that imports `bench`, or prints its help, and pays for neither torch nor mlflow."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.system import paths
from perf import reference

# Title, our program, the reference's.
CASES = [
    ("import bench", "import bench; print(sorted(bench.__all__))", reference.IMPORT),
    ("bench --help", "import bench.cli; bench.cli.main(['--help'])", reference.HELP),
    ("the interpreter alone", "pass", None),
]


@pytest.mark.benchmark(group="start")
@pytest.mark.parametrize(("title", "program", "plain"), CASES, ids=["import", "help", "interpreter"])
def test_start(measure, toy, title, program, plain):
    environment = os.environ | {"PYTHONPATH": str(paths.root())}

    def start(program: str) -> str:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    measure(
        title, lambda: start(program), None if plain is None else lambda: start(plain), rounds=1 if toy else 3, warmup=0
    )
