"""What the report shows, as plain data that JSON can hold: from configs/, records and published numbers.

Numbers are those of the tables (`bench.show.tables`), with the same rows in the same order. Data that only the folders
of finished runs hold come from `bench.show.report.runs`, and are None or empty if these are gone.
"""

from __future__ import annotations

import datetime
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from bench.config.load import benchmark_names, load_benchmark
from bench.config.schema import Benchmark
from bench.data import dataset_named
from bench.geometry.skeleton import Skeleton
from bench.results import records, sweeps
from bench.results.metrics import Metric, columns, described, further
from bench.results.records import Record
from bench.show.report.runs import Runs, found_runs
from bench.show.sweeps import lines
from bench.show.sweeps import values as sweep_values
from bench.show.tables import rows, shown
from bench.show.tables.model import Row
from bench.system.errors import BenchError
from bench.system.provenance import provenance

CLIP_BUDGET = 3_300_000  # bytes of base64 for the clips of all benchmarks: keeps the page below 5 MB


def gather(benchmarks: Sequence[str] = (), *, beside: Path, data: str | Path | None = None) -> dict[str, Any]:
    """Everything that the page shows. benchmarks: default all. beside: the page's folder, for links to records.

    data: the folder of the data sets' files, used only if the cache lacks the data that runs were tested on.

    Raises BenchError if a benchmark is unknown or a record is damaged.
    """
    names = list(dict.fromkeys(benchmarks)) or benchmark_names()
    numbers = records.published()
    shown = [_measured(load_benchmark(name), numbers, data) for name in names]
    with_runs = sum(runs.lifted is not None for *_, runs in shown)
    budget = CLIP_BUDGET // max(1, with_runs)
    made_with = provenance()
    return {
        "made": {
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "git": made_with["git"],
            "packages": made_with["packages"],
        },
        "metrics": {name: _metric(metric) for name in [*columns(), *further()] if (metric := described(name))},
        # One at a time, then freed: the errors of a large test set take a lot of memory.
        "benchmarks": [_benchmark(*shown.pop(0), numbers, beside, budget) for _ in names],
    }


def _metric(metric: Metric) -> dict[str, Any]:
    """A metric as the page needs it. at_first: whether the leaderboard shows it by default."""
    return {
        "title": metric.title,
        "unit": metric.unit,
        "digits": metric.digits,
        "higher_is_better": metric.higher_is_better,
        "at_first": "report" in metric.views,
    }


Boards = Mapping[str, Sequence[Row]]


def _measured(benchmark: Benchmark, numbers: pd.DataFrame, data: str | Path | None) -> tuple[Benchmark, Boards, Runs]:
    """The rows of a benchmark under each accounting, and the runs behind those of `shared`."""
    measured = shown(benchmark)
    boards = {"shared": rows(benchmark, measured, numbers, beside=True)}
    others = [one for one in rows(benchmark, measured, numbers, accounting="as-published", beside=True) if one.records]
    if others:
        boards["as-published"] = others
    return benchmark, boards, found_runs(benchmark, {_id(one): one.records for one in boards["shared"]}, data)


def _benchmark(
    benchmark: Benchmark, boards: Boards, runs: Runs, numbers: pd.DataFrame, beside: Path, budget: int
) -> dict[str, Any]:
    protocol = benchmark.protocol
    own = numbers[numbers["benchmark"] == benchmark.name]
    problems = []
    try:
        skeleton = _skeleton(dataset_named(protocol.trained_on.dataset).skeleton)
    except BenchError as error:  # its package is not installed: the records can still be shown
        skeleton = None
        problems.append(f"no picture of the joints: {error}")
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "protocol": {
            "tested_on": protocol.tested_on.model_dump(),
            "trained_on": protocol.trained_on.model_dump() if protocol.crosses else None,
            "train_subjects": list(protocol.fitted_subjects),
            "test_subjects": list(protocol.test_subjects),
            "frames": sorted({benchmark.frames(method) for method in benchmark.methods}),
            "averaging": protocol.averaging,
            "flip_test": protocol.flip_test,
        },
        "boards": [
            {"accounting": accounting, "rows": [_row(one, beside) for one in table]}
            for accounting, table in boards.items()
        ],
        "skeleton": skeleton,
        "sources": [
            {"labels": sorted(set(quoted["label"])), "source": str(source)}
            for source, quoted in own.groupby("source", sort=False)
        ],
        "sweeps": [_sweep(sweeps.read(path)) for path in sweeps.files(benchmark.name)],
        "courses": runs.courses(),
        "pck": runs.lifted.pck() if runs.lifted else None,
        "viewer": runs.lifted.viewer(budget) if runs.lifted else None,
        "problems": [*runs.problems, *problems],
    }


def _sweep(outcome: sweeps.Outcome) -> dict[str, Any]:
    """MPJPE of every line of a sweep at every value of its knob, means over seeds, with intervals."""
    values = sweep_values(outcome)
    return {
        "name": outcome.sweep,
        "knob": sweeps.KNOBS[outcome.knob],
        "counts": outcome.knob in sweeps.COUNTS,
        "values": values,
        "lines": [
            {
                "label": line.label,
                "method": line.method,
                "oracle": line.oracle,
                "mpjpe": [line.mean(value, "mpjpe") for value in values],
                "ci": [line.interval(value, "mpjpe") for value in values],
            }
            for line in lines(outcome)
        ],
    }


def _id(row: Row) -> str:
    """The identifier of a row, unique in its benchmark."""
    made = "" if row.trained else " published-weights"
    return f"{row.method}@{row.frames or '-'}{made}" + (f" from {row.scored_from}" if row.scored_from else "")


def _row(row: Row, beside: Path) -> dict[str, Any]:
    """One method at one receptive field; means over its seeds, from the newest record of each."""
    names = sorted({name for record in row.records for name in record.metrics})
    return {
        "id": _id(row),
        "method": row.method,
        "label": row.label,
        "frames": row.frames,
        "published": row.published,
        "measured": {name: _number(row, name) for name in names},
        "notes": row.notes,
        "parameters": next((one.parameters for one in row.records if one.parameters is not None), None),
        "macs": next((one.macs_per_frame for one in row.records if one.macs_per_frame is not None), None),
        "per_action": _means([one.per_action for one in row.records]),
        "per_joint": _means([one.per_joint for one in row.records]),
        "records": [_record(one, beside) for one in row.records],
    }


def _number(row: Row, metric: str) -> dict[str, Any]:
    """Mean and standard deviation over seeds; the interval over sequences where records have one."""
    seeds = list(row.seeds(metric).values())
    spread = statistics.stdev(seeds) if len(seeds) > 1 else None
    return {"value": statistics.fmean(seeds), "sd": spread, "ci": row.interval(metric)}


def _means(seeds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """The MPJPE of each action or joint, mean over the seeds that have it."""
    values: dict[str, list[float]] = {}
    for names in seeds:
        for name, found in names.items():
            if "mpjpe" in found:
                values.setdefault(name, []).append(found["mpjpe"])
    return {name: round(statistics.fmean(found), 2) for name, found in values.items()}


def _record(record: Record, beside: Path) -> dict[str, Any]:
    """Link to a record, relative to the page, and the provenance of its numbers."""
    origin = record.provenance
    return {
        "seed": record.seed,
        "href": Path(os.path.relpath(records.place(record), beside)).as_posix(),
        "run_key": record.run_key,
        "frames": record.frames,
        "sequences": record.sequences,
        "epochs": record.training.get("epochs"),
        "seconds": record.training.get("seconds"),
        "finished_at": origin.finished_at.isoformat(),
        "git": origin.git,
        "config": origin.config_hash,
        "data": origin.data_fingerprint,
        "hardware": origin.hardware,
        "packages": origin.packages,
        "mlflow": origin.mlflow_run_id,
    }


def _skeleton(skeleton: Skeleton) -> dict[str, Any]:
    return {
        "joints": skeleton.joints,
        "bones": skeleton.bones,
        "left": skeleton.left,
        "right": skeleton.right,
        "root": skeleton.root,
        "front": front(skeleton),
    }


def front(skeleton: Skeleton) -> list[tuple[float, float]]:
    """Where a person who faces the viewer has each joint: x to the viewer's right, y down, hips to head about 1.

    A joint that has no place of its own in `FRONT` goes on along its limb, else down from the root or out from the
    trunk where it is of one side, else up.
    """

    @cache
    def place(joint: int) -> tuple[float, float]:
        if skeleton.joints[joint] in FRONT:
            return FRONT[skeleton.joints[joint]]
        if joint == skeleton.root:
            return 0.0, 0.0
        parent = skeleton.parents[joint]
        side, (x, y) = (joint in skeleton.left) - (joint in skeleton.right), place(parent)
        if side and parent in (*skeleton.left, *skeleton.right):
            before = place(skeleton.parents[parent])
            share = 0.35 / max(math.dist((x, y), before), 1e-6)
            return x + share * (x - before[0]), y + share * (y - before[1])
        if side:
            return (x + 0.16 * side, y + 0.45) if parent == skeleton.root else (x + 0.25 * side, y)
        return x, y - 0.4

    return [place(joint) for joint in range(len(skeleton))]


FRONT = {
    "pelvis": (0, 0), "spine": (0, -0.27), "thorax": (0, -0.56), "neck": (0, -0.72), "head": (0, -0.88),
    "head top": (0, -1.02), "right hip": (-0.14, 0.03), "left hip": (0.14, 0.03), "right knee": (-0.18, 0.47),
    "left knee": (0.18, 0.47), "right ankle": (-0.2, 0.9), "left ankle": (0.2, 0.9), "right shoulder": (-0.22, -0.55),
    "left shoulder": (0.22, -0.55), "right elbow": (-0.4, -0.25), "left elbow": (0.4, -0.25),
    "right wrist": (-0.53, 0.06), "left wrist": (0.53, 0.06),
}  # fmt: skip
