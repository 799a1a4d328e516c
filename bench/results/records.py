"""Results as data: one committed JSON file for each finished run, and the numbers that papers published.

A `Record` holds the scores of one method, trained with one seed, on one benchmark, and how they were made. Records are
written whole and never overwritten by another training: the tables are made of them (docs/reference/records.md).
Published numbers live in `results/published.csv`, each with its source, and never mix with measured ones.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import AwareDatetime, Field, ValidationError, model_validator

from bench.config.schema import NAME, Protocol, Source, Strict
from bench.system import paths
from bench.system.errors import BenchError

SCHEMA: Literal[1, 2] = 2  # of records that are written; in schema 1 the run key was computed in another way

PUBLISHED_COLUMNS = ("benchmark", "method", "label", "frames", "metric", "value", "unit", "source", "paper", "note")


class Metric(Strict):
    """One headline number, with its confidence interval where one was computed."""

    value: float
    unit: str  # mm, mm/frame, %
    ci: tuple[float, float] | None = None


class Data(Source):
    """The test data, and the training data if they differ; must be what the benchmark's protocol states."""

    trained_on: Source | None = None

    @classmethod
    def of(cls, protocol: Protocol) -> Data:
        """The data of a protocol."""
        return cls(**protocol.tested_on.model_dump(), trained_on=protocol.train)


class Cost(Strict):
    """The measured cost of predicting the test set on one device: it depends on the machine and its load.

    Test frames per second count all work: overlapping windows, mirrored ones, sampling steps, reading.
    """

    test_frames_per_second: float = Field(gt=0)
    peak_memory_mb: float | None = Field(None, gt=0)  # 10^6 bytes: bench.method.cost.timed
    device: str
    threads: int = Field(ge=1)  # PyTorch's, on the CPU


class Provenance(Strict):
    """Enough to find the run again, or to repeat it. No path, user or host name."""

    mlflow_run_id: str | None = None
    git: str | None = None  # commit of the code, with "-dirty" where files were changed
    config_hash: str
    data_fingerprint: str
    packages: dict[str, str]
    hardware: str
    finished_at: AwareDatetime


class Block(Strict):
    """One test sequence of one subject with all its views: the unit of resampling in `bench.results.statistics`."""

    subject: str
    action: str
    sequence: str
    frames: int = Field(ge=1)  # scored ones, of all views
    steps: int = Field(ge=0)  # of these with a velocity: mpjve is a mean over them
    counts: dict[str, int] = Field({})  # metric -> frames that have it, where these are fewer and it is not mpjve
    means: dict[str, float]  # metric -> mean over the frames, in the unit that `metrics` gives

    def count(self, metric: str) -> int:
        """How many frames a mean is over."""
        return self.counts.get(metric, self.steps if metric == "mpjve" else self.frames)


class Record(Strict):
    """The outcome of one finished run: one method, one seed, one benchmark."""

    schema_: Literal[1, 2] = Field(SCHEMA, alias="schema")  # 1: with the key before `bench records migrate`
    run_key: str = Field(pattern=r"^[0-9a-f]{8,64}$")
    benchmark: str = Field(pattern=NAME)
    method: str = Field(pattern=NAME)  # its key in the benchmark
    registered: str | None = Field(None, pattern=NAME)  # its name in the registry; None: the same
    seed: int = Field(ge=0)
    accounting: Literal["shared", "as-published"]
    data: Data
    protocol: dict[str, Any] = Field({})
    model: dict[str, Any] = Field({})  # hyper-parameters
    recipe: dict[str, Any] = Field({})
    stages: dict[str, dict[str, Any]] = Field({})  # what was trained before: stage -> model, recipe
    weights: dict[str, str] | None = None  # published ones that were tested: file, sha256; None: trained here
    receptive_field: int | None = Field(ge=1)  # input frames; None where only predictions were scored
    metrics: dict[str, Metric] = Field(min_length=1)
    per_action: dict[str, dict[str, float]] = Field({})  # action -> metric -> value, in the unit that `metrics` gives
    per_joint: dict[str, dict[str, float]] = Field({})  # joint -> metric -> value
    # kind (subject, sequence, activity, scene, joint_group) -> name -> metric -> value; `frames`: how many it has
    groups: dict[str, dict[str, dict[str, int | float]]] = Field({})
    blocks: tuple[Block, ...] = ()  # none under as-published, nor in records older than this field
    frames: int = Field(ge=1)  # test frames counted
    sequences: int = Field(ge=1)
    parameters: int | None = Field(ge=0)
    macs_per_frame: int | float | None = Field(ge=0)
    precision: str | None = None  # that training and predicting ran in: float32, tf32, bfloat16; None: not recorded
    scoring_revision: int | None = Field(None, ge=1)  # SCORING_REVISION of bench.evaluation.scoring; None: not recorded
    cost: Cost | None = None  # of predicting; None where the predictions were there already, or came from elsewhere
    training: dict[str, Any] = Field({})
    provenance: Provenance

    @model_validator(mode="after")
    def _every_value_has_a_unit(self) -> Record:
        parts: dict[str, Mapping[str, Mapping[str, float]]] = {
            "per_action": self.per_action,
            "per_joint": self.per_joint,
        }
        parts |= {f"groups.{kind}": names for kind, names in self.groups.items()}
        parts |= {"blocks": {f"{one.subject}.{one.sequence}": one.means for one in self.blocks}}
        for part, names in parts.items():
            for row, values in names.items():
                known = {*self.metrics, "frames"} if part.startswith("groups.") else set(self.metrics)
                strangers = sorted(set(values) - known)
                if strangers:
                    raise ValueError(f"{part}.{row} has {', '.join(strangers)}, which metrics does not have")
        return self

    @property
    def path(self) -> Path:
        """Where the record belongs, relative to the folder of all records."""
        return Path(self.benchmark) / f"{self.method}-s{self.seed}-{self.run_key[:8]}.json"

    @property
    def lacks_blocks(self) -> bool:
        """Whether it was written before records had blocks."""
        return self.accounting == "shared" and not self.blocks

    def is_of_the_training_of(self, other: Record) -> bool:
        """Whether both are of the same training, whenever it was scored."""
        return self.run_key == other.run_key and self.provenance.finished_at == other.provenance.finished_at

    @property
    def scored_from(self) -> str | None:
        """The kind of an external result, like "predictions"; None for a run of the suite."""
        return self.training.get("scored_from")


# Writing and reading


def write(record: Record, folder: Path | None = None) -> Path:
    """Write a record under `results/records/` (or `folder`) and return its path.

    An existing record is kept, as it may be committed; `differences` shows whether the new run reproduces it. Only what
    an older version did not write is added, as by `completed`. Raises BenchError for NaN, infinity and text that looks
    like a path of this machine.
    """
    path = (folder or paths.records()) / record.path
    if not path.exists():
        paths.write_text(path, text(record))
        return path
    existing = read(path)
    if existing.run_key != record.run_key:
        raise BenchError(f"{paths.shown(path)} belongs to run {existing.run_key}, not {record.run_key}; move it away")
    if existing.lacks_blocks and (whole := completed(existing, record)):
        paths.write_text(path, text(whole))
    return path


def keep(record: Record, *, trial: bool = False) -> Path:
    """Write the record of a run of this checkout where it belongs, and return its path.

    In `results/records/`, to be committed; in `results/own/` if there is a record of the same run already, of another
    training; in `results/trials/` if it is a trial, with other settings than the benchmark's file
    states. Raises BenchError as `write`.
    """
    published = paths.records() / record.path
    if trial:
        path = paths.trial_records() / record.path
    elif published.exists() and not read(published).is_of_the_training_of(record):
        path = paths.own_records() / record.path
    else:
        return write(record)
    paths.write_text(path, text(record))
    return path


def viewed(benchmark: str) -> list[Record]:
    """The records to show for a benchmark: of this checkout where there is one, else the published record."""
    own = {one.run_key: one for one in load(benchmark, paths.own_records())}
    published = [own.pop(one.run_key, one) for one in load(benchmark)]
    return [*published, *own.values()]


def place(record: Record) -> Path:
    """The file of a record, in `results/own/` or `results/records/` (see `keep`)."""
    own = paths.own_records() / record.path
    mine = own.is_file() and read(own).is_of_the_training_of(record)
    return own if mine else paths.records() / record.path


def beside_published(record: Record) -> str | None:
    """The MPJPE of a run of this checkout and of its published record, if their numbers differ; else None.

    Like "yours 55.2 mm, published record 54.8 mm".
    """
    path = paths.records() / record.path
    if not path.is_file() or (kept := read(path)).is_of_the_training_of(record):
        return None
    if not any(differences(record, kept).values()):
        return None
    mine, theirs = (one.metrics["mpjpe"] for one in (record, kept))
    return f"yours {mine.value:.1f} {mine.unit}, published record {theirs.value:.1f} {theirs.unit}"


def completed(old: Record, new: Record) -> Record | None:
    """An old record with the intervals, groups and blocks that a new one of the same run has.

    None unless each number that the old one holds is the same in the new one, to the last digit that a file keeps.
    """
    parts = ("metrics", "per_action", "per_joint", "groups", "frames", "sequences")
    held, found = (_numbers(_portable(one.model_dump(include=set(parts)), shown=str(one.path))) for one in (old, new))
    if held.items() <= found.items():
        return old.model_copy(update={part: getattr(new, part) for part in (*parts, "blocks")})
    return None


def _numbers(content: Any, key: tuple[str, ...] = ()) -> dict[tuple[str, ...], float]:
    """Every number in nested dictionaries by its keys, intervals left out."""
    if isinstance(content, dict):
        inner = [_numbers(value, (*key, name)) for name, value in content.items()]
        return {name: value for one in inner for name, value in one.items()}
    return {key: content} if isinstance(content, (int, float)) else {}


def text(record: Record) -> str:
    """A record as the text of its file. Raises BenchError for what `write` refuses."""
    return portable_text(record, shown=str(record.path))


def portable_text(content: Strict, shown: str) -> str:
    """Content as JSON that may be committed, the same on every machine. Raises BenchError for what `write` refuses."""
    plain = _portable(content.model_dump(by_alias=True), shown)
    return json.dumps(plain, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def check_portable(content: Any, shown: str) -> None:
    """Raises BenchError for what `write` refuses: to check settings before hours of training.

    content: dictionaries, lists, numbers and texts; shown: its name in the message.
    """
    _portable(content, shown)


def read(path: Path) -> Record:
    """Read one record. Raises BenchError naming the file and the key if it is not what `write` writes."""
    shown = paths.shown(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchError(f"{shown} cannot be read as JSON: {error}. {_REPAIR}") from None
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        item = error.errors()[0]
        key = ".".join(str(step) for step in item["loc"])
        message = str(item["msg"]).removeprefix("Value error, ")
        raise BenchError(f"{shown}: {key + ': ' if key else ''}{message}. {_REPAIR}") from None
    _portable(content, shown)
    return record


_REPAIR = "Records are written by `bench run` and `bench score`, never by hand: restore the file from git or run again"


def load(benchmark: str | None = None, folder: Path | None = None) -> list[Record]:
    """Every record, or those of one benchmark, oldest first within a method and seed.

    Raises BenchError for a broken record and for one in the place of another.
    """
    folder = folder or paths.records()
    found = []
    for path in sorted(folder.glob(f"{benchmark or '*'}/*.json")):
        record = read(path)
        if folder / record.path != path:
            raise BenchError(f"{paths.shown(path)} holds the record that belongs in {record.path.as_posix()}")
        found.append(record)
    return sorted(found, key=lambda one: (one.benchmark, one.method, one.seed, one.provenance.finished_at, one.run_key))


def newest(records: Iterable[Record]) -> list[Record]:
    """The record to show of each (benchmark, method, frames, how it was made, seed, accounting): the newest."""
    shown: dict[tuple[Any, ...], Record] = {}
    for one in sorted(records, key=lambda one: (one.provenance.finished_at, one.run_key)):
        made = (one.weights is None, one.scored_from)
        shown[one.benchmark, one.method, one.receptive_field, made, one.seed, one.accounting] = one
    return list(shown.values())


def differences(record: Record, existing: Record) -> dict[str, float]:
    """How far the metrics of a repeated run are from those on disk: new minus old; infinite for a missing one.

    All zero, within the six digits that a file keeps, if the run reproduces the record. Cost, training time and metrics
    that the record on disk lacks (newer ones) are left out.
    """
    new, old = ({name: metric.value for name, metric in one.metrics.items()} for one in (record, existing))
    return {name: _six_digits(new[name]) - _six_digits(old[name]) if name in new else math.inf for name in sorted(old)}


def _portable(value: Any, shown: str, key: str = "") -> Any:
    """The value as JSON holds it, floats with six significant digits. Raises BenchError for what `write` refuses."""
    if isinstance(value, Mapping):
        for name in value:
            _portable(str(name), shown, f"{key}.{name}".lstrip("."))
        return {str(name): _portable(inner, shown, f"{key}.{name}".lstrip(".")) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(inner, shown, f"{key}[{index}]") for index, inner in enumerate(value)]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BenchError(f"{shown}: {key} is {value}; records hold finite numbers only")
        return _six_digits(value)
    if isinstance(value, str):
        # every path holds a slash: without one, the slower questions need not be asked
        if ("/" in value or "\\" in value) and (_PATH.search(value) or _in_home(value)):
            raise BenchError(
                f"{shown}: {key} is {value!r}, which looks like a path of this machine. Records are shared and hold "
                "none: give a name, or a path relative to the project"
            )
        return value
    if value is None or isinstance(value, int):
        return value
    raise BenchError(f"{shown}: {key} is a {type(value).__name__}; a record holds numbers and text only")


# A Unix path (alone, or of two steps and more inside a text), a home folder, a Windows path or share, a file URL.
_PATH = re.compile(r"""^/[\w.-]|(?:^|[\s"'=:(,\[])/[\w.-]+/|(?:^|\W)~\w*/|(?:^|\W)[A-Za-z]:[\\/]|^\\\\|file:/""")


def _in_home(text: str) -> bool:
    home = Path.home()
    return len(home.parts) > 1 and str(home) in text  # a container's home may be "/", which every text may hold


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


# Data frames


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """Headline metrics of records, tidy: one row per record and metric."""
    lines = [
        {
            "benchmark": one.benchmark,
            "method": one.method,
            "frames": one.receptive_field,
            "seed": one.seed,
            "accounting": one.accounting,
            "metric": name,
            "value": metric.value,
            "unit": metric.unit,
            "ci_low": metric.ci[0] if metric.ci else math.nan,
            "ci_high": metric.ci[1] if metric.ci else math.nan,
            "run_key": one.run_key,
            "finished_at": one.provenance.finished_at,
        }
        for one in records
        for name, metric in one.metrics.items()
    ]
    return pd.DataFrame(lines)


def published(path: Path | None = None) -> pd.DataFrame:
    """What papers report, one row per benchmark, method, frames and metric, in the order of the file.

    path: default `results/published.csv` of the project ($BENCH_RESULTS moves what is measured, not this); a project
    without the file has no published numbers. Raises BenchError for a file of another form.
    """
    path = path or paths.root() / "results" / "published.csv"
    if not path.exists():
        return pd.DataFrame(columns=list(PUBLISHED_COLUMNS))
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if tuple(table.columns) != PUBLISHED_COLUMNS:
            raise ValueError(f"columns are {', '.join(table.columns)}, expected {', '.join(PUBLISHED_COLUMNS)}")
        table = table.assign(frames=table["frames"].astype(int), value=table["value"].astype(float))
        if not table["value"].map(math.isfinite).all():
            raise ValueError("a value is not a finite number")
        twice = table[table.duplicated(["benchmark", "method", "frames", "metric"])]
        if len(twice):
            raise ValueError(f"{' '.join(map(str, twice.iloc[0][['benchmark', 'method', 'frames', 'metric']]))} twice")
    except ValueError as error:  # pandas' parsing errors are ValueErrors as well
        raise BenchError(f"{paths.shown(path)}: {error}") from None
    return table
