"""The content of a benchmark's tables: methods by metrics, and MPJPE and others by action, group and joint."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from bench.config.schema import Protocol
from bench.data.mpi_inf_3dhp_labels import ACTIVITIES, SCENES
from bench.geometry.skeleton import H36M_17, MPI_INF_3DHP_17, MPI_INF_3DHP_GROUPS
from bench.results.metrics import METRICS, Metric, columns, described, further, in_view, metrics
from bench.results.records import Record
from bench.show.tables.model import NONE, UNMEASURED, Cell, Column, Row, Table, Values, numbers

KINDS = ("subject", "sequence", "activity", "scene", "joint_group")  # of groups, in the order of a page
# Names with a fixed order; others are sorted, with numbers in them compared as numbers.
ORDERS = (H36M_17.joints, MPI_INF_3DHP_17.joints, tuple(MPI_INF_3DHP_GROUPS), ACTIVITIES, tuple(SCENES.values()))


def all_tables(protocol: Protocol, rows: Sequence[Row], ranked: bool = True) -> list[Table]:
    """Every table of a page: metrics, actions, groups, joints, cost. ranked: whether the best of a column is marked."""
    return [
        benchmark_table(protocol, rows, ranked),
        *_further(rows, ranked),
        *_usages(rows, ranked),
        *_actions(rows, ranked),
        *_groups(rows, ranked),
        *_joints(rows, ranked),
        *_costs(rows),
    ]


def benchmark_table(protocol: Protocol, rows: Sequence[Row], ranked: bool = True) -> Table:
    """Every metric, size, seeds and records."""
    headline = f"mpjpe_{protocol.averaging}"  # is `mpjpe` itself
    asked = [name for name in columns() if name != headline]
    names = [name for name in asked if _is_always_shown(name) or _has(rows, name)]
    shown = [
        *_methods(rows),
        *metric_columns(rows, names, ranked, intervals=True),
        _size("Parameters", rows, "parameters"),
        _size("MACs/frame", rows, "macs_per_frame"),
        seeds_column(rows),
        _records(rows),
    ]
    return Table("benchmark", "", rows, shown, notes=_notes(rows))


def _is_always_shown(name: str) -> bool:
    found = described(name)
    return found is not None and found.column == "always"


def short_table(rows: Sequence[Row]) -> Table:
    """Headline metrics, size and records."""
    names = ["mpjpe", "pck", "auc"] if _has(rows, "pck") else ["mpjpe", "p_mpjpe"]
    shown = [*_methods(rows), *metric_columns(rows, names), _size("Parameters", rows, "parameters"), _records(rows)]
    return Table("benchmark", "", rows, shown, notes=_notes(rows))


def papers_table(rows: Sequence[Row], venues: Mapping[str, str]) -> Table:
    """What papers report and what was measured here. venues: where the paper of a method appeared."""
    method, frames = _methods(rows)
    paper = Column("Paper", [Cell(venues[one.method]) for one in rows])
    columns = [method, paper, frames, *metric_columns(rows, ["mpjpe"]), _records(rows)]
    return Table("benchmark", "", rows, columns, notes=_notes(rows))


# Columns


def _methods(rows: Sequence[Row]) -> list[Column]:
    notes = _notes(rows)
    marks = [tuple(notes.index(note) + 1 for note in dict.fromkeys(one.notes)) for one in rows]
    methods = [Cell(one.label, marks=mark) for one, mark in zip(rows, marks, strict=True)]
    return [Column("Method", methods), _frames(rows)]


def _frames(rows: Sequence[Row]) -> Column:
    return Column("Frames", [Cell(str(one.frames or NONE)) for one in rows])


def metric_columns(
    rows: Sequence[Row], names: Iterable[str], ranked: bool = True, intervals: bool = False
) -> list[Column]:
    """The measured column of each metric and, where papers report it, the published one before it."""
    made = []
    any_published = any(one.published for one in rows)
    for name in names:
        shown = described(name)
        if shown is None:
            continue  # its package is no longer installed
        pair = f"{shown.title} ({shown.unit})"
        if any(name in one.published for one in rows):
            reported: list[Values] = [{None: one.published[name]} if name in one.published else {} for one in rows]
            title = f"{shown.title} published ({shown.unit})"
            cells = numbers(reported, shown, ranked)
            made.append(Column(title, cells, name, shown.unit, "published", pair=pair))
        title = f"{shown.title} measured ({shown.unit})" if any_published else pair
        cells = numbers([one.seeds(name) for one in rows], shown, ranked)
        if intervals:
            ends = [one.interval(name) for one in rows]
            cells = [replace(cell, interval=_interval(end, shown)) for cell, end in zip(cells, ends, strict=True)]
        made.append(Column(title, cells, name, shown.unit, "measured", pair=pair))
    return made


def _interval(ends: tuple[float, float] | None, shown: Metric) -> str:
    return f"[{ends[0]:.{shown.digits}f}, {ends[1]:.{shown.digits}f}]" if ends else ""


def _size(title: str, rows: Sequence[Row], key: Literal["parameters", "macs_per_frame"]) -> Column:
    """A count with three digits and k, M, G; 0 for a method without parameters."""
    counts: list[Values] = [
        {one.seed: count for one in row.records if (count := getattr(one, key)) is not None} for row in rows
    ]
    cells = [Cell(short_count(next(iter(seeds.values()))) if seeds else NONE, values=seeds) for seeds in counts]
    return Column(title, cells, key, "", "measured")


def short_count(count: float) -> str:
    """Three digits and k, M or G."""
    count = float(f"{count:.3g}")
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:#.3g}".rstrip(".") + f" {letter}"
    return f"{count:.0f}"


def seeds_column(rows: Sequence[Row]) -> Column:
    """Which seeds there are."""
    return Column("Seeds", [Cell(", ".join(str(one.seed) for one in row.records) or NONE) for row in rows])


def _records(rows: Sequence[Row]) -> Column:
    return Column("Record", [Cell(UNMEASURED, records=tuple(row.records)) for row in rows])


# Tables of further metrics, and by action, group and joint


def _further(rows: Sequence[Row], ranked: bool) -> list[Table]:
    """The metrics that have no column in the table of the benchmark, if a record has one of them."""
    names = [name for name in further() if _has(rows, name)]
    shown = [*_methods(rows), *metric_columns(rows, names, ranked, intervals=True), seeds_column(rows)]
    return [Table("further", "Further metrics", rows, shown, notes=_notes(rows))] if names else []


def _usages(rows: Sequence[Row], ranked: bool) -> list[Table]:
    """The three numbers that papers give for MPI-INF-3DHP, side by side."""
    found = [one for one in rows if one.seeds("mpjpe_w2929")]
    shown = [Column("Method", [Cell(one.label) for one in found]), _frames(found)]
    for what, suffixes in USAGES.items():
        for metric in ("mpjpe", "pck", "auc"):
            about = METRICS[metric]
            values = [
                next((seeds for suffix in suffixes if (seeds := one.seeds(metric + suffix))), {}) for one in found
            ]
            title, cells = f"{about.title}, {what} ({about.unit})", numbers(values, about, ranked)
            shown.append(Column(title, cells, metric, about.unit, "measured", name=what))
    return [Table("usage", "Three usages of one number", found, shown, about=_USAGES)] if found else []


# What MPI-INF-3DHP's single number is a mean of, and what the records call it, whichever is the headline.
USAGES = {"valid frames": ("_frames", ""), "six sequences": ("_actions", ""), "2,929 weights": ("_w2929",)}
_USAGES = (
    "Papers differ in how six test sequences become one number. Over all valid frames, as the row `All` of the "
    "official activity table; the plain mean of the six sequences (D3DP; the MPJPE that Diff3DHPE prints); the six "
    "weighted by the frames of an older release of the labels, 2,929 in all (the official README, P-STMO)."
)

Found = Mapping[str, Mapping[str, float]]  # name -> metric -> value


def _actions(rows: Sequence[Row], ranked: bool) -> list[Table]:
    if any("sequence" in record.groups for one in rows for record in one.records):
        return []  # the actions of such data are their sequences, which have tables of their own
    found = [{record.seed: record.per_action for record in one.records} for one in rows]
    return _by_name(rows, "action", "mpjpe", found, ranked)


def _joints(rows: Sequence[Row], ranked: bool) -> list[Table]:
    found = [{record.seed: record.per_joint for record in one.records} for one in rows]
    return _by_name(rows, "joint", "mpjpe", found, ranked)


def _groups(rows: Sequence[Row], ranked: bool) -> list[Table]:
    """A table for each kind of group and metric, if there is more than one group."""
    tables = []
    for kind in KINDS:
        found: list[dict[int, Found]] = [{one.seed: one.groups.get(kind, {}) for one in row.records} for row in rows]
        if len({name for seeds in found for groups in seeds.values() for name in groups}) > 1:
            sizes = _group_sizes(kind, found)
            for metric in in_view("groups"):
                tables += (of_metric := _by_name(rows, kind, metric, found, ranked, about=sizes))
                sizes = "" if of_metric else sizes  # once, below the first title
    return tables


def _group_sizes(kind: str, found: Sequence[Mapping[int, Found]]) -> str:
    """How many frames each group has, which all records of a benchmark share."""
    if kind == "joint_group":
        return ""  # each group has all of them
    every = [groups for seeds in found for groups in seeds.values()]
    counts = {name: values.get("frames", 0) for groups in every for name, values in groups.items()}
    return f"Scored frames by {kind}: " + "; ".join(f"{name} {counts[name]:,}" for name in _ordered(counts))


def _by_name(
    rows: Sequence[Row], kind: str, metric: str, found: Sequence[Mapping[int, Found]], ranked: bool, about: str = ""
) -> list[Table]:
    """One metric by action, group or joint. found: for each row, the values of every seed."""
    of = metrics()[metric]
    measured: dict[int, dict[str, dict[int | None, float]]] = {}  # row -> name -> value of every seed
    for number, seeds in enumerate(found):
        for seed, names in seeds.items():
            for name, values in names.items():
                if metric in values:
                    measured.setdefault(number, {}).setdefault(name, {})[seed] = values[metric]
    those = [rows[number] for number in measured]
    shown = [Column("Method", [Cell(one.label) for one in those]), _frames(those)]
    for name in _ordered({name for names in measured.values() for name in names}):
        cells = numbers([names.get(name, {}) for names in measured.values()], of, ranked)
        shown.append(Column(name, cells, metric, of.unit, "measured", name=name))
    title = f"Measured {of.title} ({of.unit}) per {kind.replace('_', ' ')}"
    return [Table(kind, title, those, shown, about=about)] if measured else []


def _ordered(names: Collection[str]) -> list[str]:
    """Names of actions, groups or joints as their data set lists them, or sorted with S9 before S11."""
    known: tuple[str, ...] = next((order for order in ORDERS if set(names) <= set(order)), ())

    def place(name: str) -> tuple[int, list[tuple[int, str]]]:
        words = [(int(word), "") if word.isdigit() else (0, word) for word in re.split(r"(\d+)", name)]
        return known.index(name) if name in known else len(known), words

    return sorted(names, key=place)


# Cost


def _costs(rows: Sequence[Row]) -> list[Table]:
    """Size, time and memory of the timed rows, unranked, as machines differ. A quantity without values is left out."""
    timed = [one for one in rows if any(record.cost or training_seconds(record) for record in one.records)]
    mpjpe = [column for column in metric_columns(timed, ["mpjpe"], ranked=False) if column.kind == "measured"]
    shown = [
        Column("Method", [Cell(one.label) for one in timed]),
        _frames(timed),
        *mpjpe,
        _size("Parameters", timed, "parameters"),
        _size("MACs/frame", timed, "macs_per_frame"),
        *_quantity("Test frames/s", timed, "test_frames_per_second", "frames/s", _speed),
        *_quantity("Peak memory (MB)", timed, "peak_memory_mb", "MB", _memory),
        *_quantity("Training (min)", timed, "training_seconds", "s", training_seconds, per=60),
        Column("Device", [Cell(_devices(one.records)) for one in timed]),
    ]
    return [Table("cost", "Cost", timed, shown, about=_COST)] if timed else []


_COST = (
    "Parameters and multiply-accumulates (MACs) are counted, and are the same everywhere; the rest was measured on "
    "the named device, which may have been busy; means over seeds. Test frames/s: test frames per second of "
    "prediction, mirrored and overlapping windows and sampling steps included. Peak memory: of tensors while "
    "predicting, on a CUDA device; on a CPU the growth of the process. Training: the time of all epochs, including "
    "earlier stages."
)


def training_seconds(record: Record) -> float | None:
    """Seconds of all epochs, earlier stages included; None where nothing was trained."""
    courses = [record.training, *record.training.get("stages", {}).values()]
    return sum(course.get("seconds", 0.0) for course in courses) or None


def _speed(record: Record) -> float | None:
    return record.cost.test_frames_per_second if record.cost else None


def _memory(record: Record) -> float | None:
    return record.cost.peak_memory_mb if record.cost else None


def _quantity(
    title: str, rows: Sequence[Row], name: str, unit: str, of: Callable[[Record], float | None], per: float = 1
) -> list[Column]:
    """A column of a quantity that some records have, divided by `per` in the text; no column if none has it."""
    values: list[Values] = [{one.seed: value for one in row.records if (value := of(one)) is not None} for row in rows]
    means = [statistics.fmean(seeds.values()) / per if seeds else None for seeds in values]
    texts = [NONE if mean is None else f"{mean:,.0f}" if mean >= 100 else f"{mean:.1f}" for mean in means]
    cells = [Cell(text, values=seeds) for text, seeds in zip(texts, values, strict=True)]
    return [Column(title, cells, name, unit, "measured")] if any(values) else []


def _devices(records: Sequence[Record]) -> str:
    """The device that predicted, with its threads; the machine, in records from before devices were kept."""
    return "; ".join(dict.fromkeys(_device(one) for one in records))


def _device(record: Record) -> str:
    if record.cost is None:
        return record.provenance.hardware
    threads = f"{record.cost.threads} thread" + ("s" if record.cost.threads > 1 else "")
    return f"{record.cost.device}, {threads}"


def _notes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(note for one in rows for note in one.notes))


def _has(rows: Sequence[Row], metric: str) -> bool:
    return any(metric in one.published or one.seeds(metric) for one in rows)
