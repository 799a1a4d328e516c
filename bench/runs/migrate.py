"""Give records of an earlier version the keys of this one: `bench records migrate`.

Records of schema 2 identify a run in another way (docs/decisions/run-identity.md), so finished runs
would look new. Their numbers still hold: each record of schema 1 gets its new key and file name, and the folder
of its run in the cache is renamed with it. Intervals are computed again from the blocks of a record. A record of
schema 2 never gets another key: that would name code that it was not measured with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.config.load import load_benchmark
from bench.config.schema import Benchmark
from bench.method.weights import Weights
from bench.results import records, sweeps
from bench.results.records import Record
from bench.results.statistics import with_intervals_within_actions
from bench.runs.identity import keys
from bench.runs.plan import published_weights
from bench.runs.submission import key_of_record
from bench.show import tables
from bench.system import paths
from bench.system.errors import BenchError


@dataclass(frozen=True)
class Migrated:
    """What happened to one record. note: why it is unchanged, or where it is now."""

    before: Path
    after: Path | None
    note: str = ""

    def __str__(self) -> str:
        if self.after is None:
            return f"unchanged  {paths.shown(self.before)}: {self.note}"
        return f"{paths.shown(self.before)} -> {self.after.name}" + (f"  ({self.note})" if self.note else "")


def migrate() -> list[Migrated]:
    """Give every record of schema 1 the key that its run has now; one line per record that changed or could not.

    Headline numbers do not change. Records of trials, with other settings than the benchmark's file states, move to
    the folder of trials. Raises BenchError for a record that cannot be read.
    """
    done: list[Migrated] = []
    renamed: dict[str, str] = {}
    for folder in (paths.records(), paths.own_records()):
        for record in records.load(folder=folder):
            if record.schema_ < records.SCHEMA:
                done += _migrate(record, folder, renamed)
    _rename_in_sweeps(renamed)
    return done


def _migrate(record: Record, folder: Path, renamed: dict[str, str]) -> Iterable[Migrated]:
    before = folder / record.path
    try:
        benchmark = load_benchmark(record.benchmark)
    except BenchError:
        return [Migrated(before, None, f"no benchmark {record.benchmark} in configs/")]
    if tables.departures(record, benchmark) and not record.scored_from:
        after = paths.trial_records() / record.path
        paths.write_text(after, records.text(record))
        before.unlink()
        return [Migrated(before, after, "a trial, now in results/trials")]
    key = _key(record, benchmark)
    if key is None:
        return [Migrated(before, None, "the published weights it was measured with are not here")]
    again = with_intervals_within_actions(record.model_copy(update={"run_key": key, "schema_": records.SCHEMA}))
    after = folder / again.path
    renamed[record.run_key] = key
    paths.write_text(after, records.text(again))
    if after != before:
        before.unlink()
    _rename_in_cache(record, again)
    return [Migrated(before, after)]


def _key(record: Record, benchmark: Benchmark) -> str | None:
    """The key that the run behind a record has now; None if the weights that identify it are not here."""
    if record.scored_from:
        return key_of_record(record)
    protocol = benchmark.protocol.model_copy(update={"accounting": record.accounting})
    stated = benchmark.model_copy(update={"protocol": protocol})
    found: dict[str, Weights] = {}
    if record.weights is not None:
        found = published_weights(benchmark, [record.method], {})
        if record.method not in found or found[record.method].origin.sha256 != record.weights.get("sha256"):
            return None
    tested_on = record.provenance.data_fingerprint
    trained_on = record.training.get("data_fingerprint", tested_on)
    return keys(stated, record.method, record.seed, trained_on, tested_on, found).run


def _rename_in_cache(old: Record, new: Record) -> None:
    """Rename the folder of the run, and the key in its record, so that a finished run stays finished."""
    runs = paths.cache() / "runs" / old.benchmark
    folder, target = runs / old.path.stem, runs / new.path.stem
    if folder.is_dir() and not target.exists():
        own = folder / "record.json"
        if own.is_file():
            changes = {"run_key": new.run_key, "schema_": new.schema_}
            paths.write_text(own, records.text(records.read(own).model_copy(update=changes)))
        folder.rename(target)


def _rename_in_sweeps(renamed: dict[str, str]) -> None:
    """Update the run keys in committed sweeps, whose points name the runs they tested."""
    for path in sorted(sweeps.folder().glob("*/*.json")):
        outcome = sweeps.read(path)
        points = tuple(
            point.model_copy(update={"run_key": renamed.get(point.run_key, point.run_key)}) for point in outcome.points
        )
        if points != outcome.points:
            again = outcome.model_copy(update={"points": points})
            paths.write_text(path, records.portable_text(again, shown=str(again.path)))
