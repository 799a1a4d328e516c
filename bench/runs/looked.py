"""A plan that was looked at before: if all of its runs are finished, nothing has to be loaded to show it again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.schema import Benchmark, Source
from bench.data.registry import GROUP as DATASETS
from bench.data.registry import dataset_named, kind_of
from bench.method.registry import GROUP as METHODS
from bench.results.metrics import GROUP as METRICS
from bench.system import paths
from bench.system.entry_points import declarations
from bench.system.errors import BenchError
from bench.system.remembered import Remembered, stamp

if TYPE_CHECKING:
    from bench.runs.plan import Plan


def looked_at(benchmark: Benchmark, data: str | None, methods: Sequence[str], **options: Any) -> Remembered | None:
    """What `bench run --dry-run` printed for a benchmark, if it was kept; None if it cannot be.

    options: the other options of the command, plain data. The answer is that of these settings, data, imported weights
    and installed packages.
    """
    if "torch" in sys.modules:  # then methods may be loaded as well, from files that have changed since
        return None
    protocol = benchmark.protocol
    try:
        data_sets = [_fingerprint(one, data) for one in (protocol.trained_on, protocol.tested_on)]
    except BenchError:
        return None  # the plan will say what is wrong
    question = {
        "benchmark": [one.model_dump(mode="json") for one in (benchmark, benchmark.as_filed)],
        "methods": list(methods),
        "options": options,
        "data": data_sets,
        "weights": [[str(file), stamp(file)] for file in sorted(paths.checkpoints().glob("*"))],
        "declared": [declarations(group) for group in (METHODS, DATASETS, METRICS)],
        "python": [sys.version, *sys.path],
    }
    return Remembered(f"plans/{benchmark.name}", question)


def keep(asked: Remembered, shown: str, plan: Plan) -> None:
    """Keep what was shown of a plan, until a record of it changes.

    Only of a plan without anything to do, and where PyTorch is built for CPUs alone: elsewhere a GPU may be there
    today and not tomorrow, and the plan names the device.
    """
    import torch

    if torch.version.cuda is None and torch.version.hip is None and all(run.finished for run in plan.runs):
        asked.keep(shown, [run.record_file for run in plan.runs])


def _fingerprint(source: Source, data: str | None) -> str:
    folder = Path(data) if data is not None else paths.data()
    return dataset_named(source.dataset).fingerprint(folder, kind_of(source.dataset, source.keypoints))
