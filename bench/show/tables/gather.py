"""Which records a benchmark's tables show, and in which rows: published, measured, or only configured."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.config.accounting import Preset, for_method
from bench.config.load import load_benchmark
from bench.config.schema import SOURCES, Benchmark, Source
from bench.results.metrics import described
from bench.results.records import Record, beside_published, load, newest, viewed
from bench.results.statistics import compare_records
from bench.show.tables.model import NONE, Row
from bench.system import paths
from bench.system.errors import BenchError


def rows(
    benchmark: Benchmark,
    records: Iterable[Record],
    numbers: pd.DataFrame,
    accounting: str = "shared",
    beside: bool = False,
) -> list[Row]:
    """A row for each method and receptive field: published, measured, or only configured; in that order.

    Predictions and models made elsewhere, only scored here, come last. beside: note where a run of this checkout has
    other numbers than its published record. Raises BenchError for a record of another benchmark, data set, kind of
    keypoints or unit.
    """
    labels = dict(zip(numbers["method"], numbers["label"], strict=True))
    table: dict[tuple[str, int | None, bool, str | None], Row] = {}

    def row(method: str, frames: int | None, trained: bool = True, scored_from: str | None = None) -> Row:
        label = labels.get(method, method) + ("" if trained else ", published weights")
        if scored_from:
            label = f"{method}, scored from {scored_from}"
        return table.setdefault(
            (method, frames, trained, scored_from), Row(method, label, frames, trained, scored_from)
        )

    for line in numbers[numbers["benchmark"] == benchmark.name].to_dict("records"):
        one = row(line["method"], line["frames"])
        one.published[line["metric"]] = line["value"]
        one.sources[line["metric"]] = line["source"]
        if line["note"]:
            one.notes.append(f"Published: {line['note']}")
    order = [one.method for one in table.values()] + list(benchmark.methods)
    for record in sorted(newest(records), key=lambda one: (one.method, one.seed)):
        _check_belongs(record, benchmark)
        if record.accounting == accounting:
            made = (record.weights is None, record.scored_from)
            one = row(record.method, record.receptive_field, *made)
            one.records.append(record)
            if beside and (both := beside_published(record)):
                one.notes.append(f"Seed {record.seed}: {both}")
    for method in benchmark.methods:
        if all(one.method != method or one.scored_from for one in table.values()):
            row(method, benchmark.frames(method))
    for one in table.values():
        if accounting == "as-published" and one.records:
            one.notes.append(f"Measured and counted as by {preset(one)}")
        if any(record.training.get("kept") == "best-test" for record in one.records):
            one.notes.append(
                "Measured with the weights that scored best on the test set, as the method's own code does"
            )
    if accounting == "shared":
        _note_ties([one for one in table.values() if one.records])
    order += sorted({one.method for one in table.values()} - set(order))

    def place(one: Row) -> tuple[Any, ...]:
        return one.scored_from is not None, order.index(one.method), one.frames or 0, not one.trained, one.label

    return sorted(table.values(), key=place)


def _note_ties(measured: Sequence[Row]) -> None:
    """A note on each row whose MPJPE does not differ from the best one beyond chance, as `bench compare` tests it."""
    best = min(measured, key=lambda row: statistics.fmean(row.seeds("mpjpe").values() or [math.inf]), default=None)
    for row in measured:
        known = [bool(one.blocks) for one in (*best.records, *row.records)] if best else []
        if best is None or row is best or not any(known):
            continue
        if not all(known):
            row.notes.append(f"MPJPE not compared with that of {best.label}: a record does not hold its sequences")
            continue
        try:
            found = compare_records(row.records, best.records)
        except ValueError:  # a single sequence, or other test data: no test is possible
            continue
        if not found.significant:
            about = "" if found.methods else "; this is about these networks, not the methods"
            row.notes.append(f"MPJPE does not differ from that of {best.label} beyond chance{about}")


def preset(row: Row) -> Preset:
    """The accounting of the code of a row's method."""
    record = row.records[0]
    return for_method(record.registered or record.method, record.data.dataset)


def _check_belongs(record: Record, benchmark: Benchmark) -> None:
    where = f"results/records/{record.path.as_posix()}"
    if record.benchmark != benchmark.name:
        raise BenchError(f"{where} is a result of {record.benchmark} and has no place in the table of {benchmark.name}")
    protocol = benchmark.protocol
    data: dict[str, tuple[Source, Source]] = {
        "data": (record.data, protocol.tested_on),
        "data.trained_on": (record.data.trained_on or record.data, protocol.trained_on),
    }
    for part, key in itertools.product(data, ("dataset", "keypoints")):
        found, expected = (getattr(one, key) for one in data[part])
        if found != expected:
            raise BenchError(
                f"{where}: {part}.{key} is {found!r}, but {benchmark.name} is measured on {expected!r}. "
                "Remove the record; other data need a benchmark of their own in configs/"
            )
    for name, metric in record.metrics.items():
        shown = described(name)
        if shown and metric.unit != shown.unit:
            raise BenchError(f"{where}: metrics.{name} is in {metric.unit!r}, tables show {shown.unit!r}")


def left_out(results: Path | None = None) -> list[str]:
    """Records that no table shows: one line each, with the settings or data that are not their benchmark's."""
    lines = []
    for path in sorted(paths.configs().glob("*.yaml")):
        benchmark = load_benchmark(path)
        for record in load(benchmark.name, (results or paths.results()) / "records"):
            if reasons := departures(record, benchmark):
                lines.append(f"results/records/{record.path.as_posix()}: {'; '.join(reasons)}")
    return lines


def own_numbers() -> list[str]:
    """A line for each run of this checkout whose published record has other numbers: no committed page shows it."""
    return [
        f"{one.benchmark}, {one.method}, seed {one.seed}: {both}"
        for one in load(folder=paths.own_records())
        if (both := beside_published(one))
    ]


def departures(record: Record, benchmark: Benchmark) -> list[str]:
    """What keeps a record out of its benchmark's table: settings that are not the file's, a test set that is not whole.

    So a trial with `SET=...`, or a run on sample files, is never shown where a reader expects the benchmark.
    """
    pairs: dict[str, tuple[Any, Any]] = {}
    known = record.method in benchmark.methods and not record.scored_from
    if record.receptive_field is not None and not record.scored_from:
        expected = benchmark.frames(record.method) if known else benchmark.protocol.frames
        pairs["frames"] = (record.receptive_field, expected)
    if benchmark.protocol.test_videos is not None:
        pairs["test videos"] = (record.sequences, benchmark.protocol.test_videos)
    # Of a protocol, data set and keypoints are not departures but mistakes: `rows` refuses them. Each accounting has a
    # table of its own.
    apart = (*SOURCES, "frames", "accounting")
    protocol = {key: value for key, value in record.protocol.items() if key not in apart}
    pairs |= _apart(protocol, benchmark.protocol.model_dump(mode="json"), "protocol.")
    if known:
        stated = benchmark.methods[record.method].model_dump(mode="json")
        pairs |= _apart(record.model, stated["model"], "model.")
        pairs |= _apart(record.recipe, stated["recipe"], "recipe.")
        if record.weights is None:  # published weights hold their own sizes, and no stage was trained here
            pairs |= {
                f"model.{key}": (record.model[key], NONE) for key in sorted(record.model.keys() - stated["model"])
            }
            pairs |= {"stages": (_names(record.stages), _names(stated["stages"]))}
            for stage in sorted(record.stages.keys() & stated["stages"]):
                taken = record.stages[stage].get("weights", {}).get("file", NONE)
                pairs[f"stages.{stage}.weights"] = (taken, NONE)  # taken from elsewhere, where the file says to train
                for part in ("model", "recipe"):
                    ran, wanted = record.stages[stage].get(part, {}), stated["stages"][stage][part]
                    pairs |= _apart(ran, wanted, f"stages.{stage}.{part}.")
    return [
        f"{key} {_text(found)} instead of {_text(expected)}"
        for key, (found, expected) in pairs.items()
        if _text(found) != _text(expected)
    ]


def _apart(ran: Mapping[str, Any], stated: Mapping[str, Any], prefix: str) -> dict[str, tuple[Any, Any]]:
    """What the run had and what is stated, for every key that both have."""
    return {f"{prefix}{key}": (ran[key], stated[key]) for key in sorted(ran.keys() & stated.keys())}


def _names(stages: Mapping[str, Any]) -> str:
    return ", ".join(stages) or NONE


def shown(benchmark: Benchmark) -> list[Record]:
    """The records that a view of a benchmark shows: of this checkout's runs before published ones."""
    return [one for one in viewed(benchmark.name) if not departures(one, benchmark)]


def eligible(benchmark: Benchmark, results: Path) -> list[Record]:
    """The published records that a committed page of a benchmark shows."""
    return [one for one in load(benchmark.name, results / "records") if not departures(one, benchmark)]


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
