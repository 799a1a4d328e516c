"""What a user waits for: runs side by side, a fresh clone to its environment, the demo. Minutes; only when selected.

    make perf SELECT=jobs                                        the runs of the demo, one epoch each
    make perf SELECT=jobs NAME=cmu-gt-27 SEEDS=3 DATA=FOLDER     those of a benchmark as it is filed
    make perf SELECT=setup                                       a fresh clone and `make setup`
    make perf SELECT=demo                                        a fresh clone, `make demo` and the same with JOBS=1

A clone holds what is committed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bench.system import paths

pytestmark = pytest.mark.long

# Seconds, with packages in pip's cache and two cores that do nothing else.
CLONE_TO_TABLE, DEMO = 240, 120


def called(command: Sequence[str], folder: Path, **environment: str) -> None:
    """Run a command in a folder, without the environment that this process runs in. Fails with what it printed."""
    inherited = {
        key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")
    }
    done = subprocess.run(command, cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def numbers(results: Path) -> str:
    """The metrics of all records under a folder of results: equal for runs that computed the same."""
    files = [file for folder in ("records", "own", "trials") for file in (results / folder).rglob("*.json")]
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    records = {one["run_key"]: one["metrics"] for one in found if {"run_key", "metrics"} <= one.keys()}
    assert records, f"no record under {results}"
    return json.dumps(records, sort_keys=True)


@pytest.mark.benchmark(group="wait")
def test_jobs(measure, request):
    name, seeds, data = (request.config.getoption(option) for option in ("--runs-of", "--seeds", "--data"))
    bench = [sys.executable, "-m", "bench.cli", "run"]
    command = [*bench, name, "--seeds", str(seeds), *(["--data", data] if data else [])]
    command += ["--set", "recipe.epochs=1"] if name == "demo" else []

    def run(jobs: int) -> str:
        with TemporaryDirectory() as folder:
            called([*command, "--jobs", str(jobs)], paths.root(), BENCH_RESULTS=folder)
            return numbers(Path(folder))

    what = "demo, one epoch each" if name == "demo" else name
    aim = {"reach": 1.8} if seeds == 3 else {}
    many = f"{seeds} seeds" if seeds > 1 else "one seed"
    case = f"bench run {what}, {many}: --jobs 2, beside --jobs 1"
    title = f"{name}, {many}, --jobs 2"
    measure(case, lambda: run(2), lambda: run(1), rounds=1, warmup=0, title=title, **aim)


@dataclass(frozen=True)
class Clone:
    """A fresh clone with its environment, and the seconds that each took."""

    folder: Path
    cloning: float
    setting_up: float


@pytest.fixture(scope="module")
def clone() -> Iterator[Clone]:
    with TemporaryDirectory() as above:
        folder, started = Path(above) / "clone", time.perf_counter()
        called(["git", "clone", "--quiet", str(paths.root()), str(folder)], Path(above))
        cloned = time.perf_counter()
        called(["make", "setup"], folder)
        yield Clone(folder, cloned - started, time.perf_counter() - cloned)


def noted(benchmark, case: str, seconds: float, **notes: float | str) -> None:
    """A case whose seconds were taken elsewhere."""
    benchmark.pedantic(lambda: None)
    benchmark.extra_info.update(case=case, measured_seconds=seconds, **notes)


@pytest.mark.benchmark(group="wait")
def test_setup(benchmark, clone):
    noted(benchmark, "make setup in a fresh clone, pip's cache warm", clone.setting_up)


@pytest.fixture(scope="module")
def demo(clone) -> dict[str, tuple[float, str]]:
    """Seconds and numbers of the demo in the clone, by the value of JOBS."""
    found = {}
    for jobs in ("", "1"):
        with TemporaryDirectory() as results:
            started = time.perf_counter()
            called(["make", "demo", *([f"JOBS={jobs}"] if jobs else [])], clone.folder, BENCH_RESULTS=results)
            found[jobs] = time.perf_counter() - started, numbers(Path(results))
    return found


@pytest.mark.benchmark(group="wait")
def test_demo(benchmark, demo):
    (ours, records), (one_by_one, same) = demo[""], demo["1"]
    assert records == same
    title = "make demo, beside JOBS=1"
    facts = {"reference_seconds": one_by_one, "ratio": one_by_one / ours, "reach": 1.7, "title": title}
    noted(benchmark, "make demo after set-up, beside JOBS=1", ours, within=DEMO, **facts)


@pytest.mark.benchmark(group="wait")
def test_demo_in_a_fresh_clone(benchmark, clone, demo):
    seconds = clone.cloning + clone.setting_up + demo[""][0]
    title = "fresh clone to the demo's table"
    noted(benchmark, f"{title}, pip's cache warm", seconds, within=CLONE_TO_TABLE, title=title)
