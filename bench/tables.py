"""Result tables: `results/tables/*.md` and the marked blocks of README.md, made from results/ and configs/ alone.

`write` renders everything (or tells what has drifted), `terminal` is what a finished run prints. Published and measured
numbers stand in columns of their own; a measured number links to its record. Neither torch nor mlflow is needed.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from tabulate import tabulate

from bench import paths, sweep_outcome
from bench.accounting import Preset, for_method
from bench.config import SOURCES, Benchmark, Protocol, Source, load_benchmark
from bench.errors import BenchError, unknown
from bench.protocol_3dhp import ACTIVITIES, SCENES
from bench.records import Record, load, newest, published
from bench.skeleton import H36M_17, MPI_INF_3DHP_17, MPI_INF_3DHP_GROUPS

NONE, UNMEASURED = "—", "not measured yet"


class Column(NamedTuple):
    """How one metric of the records is shown."""

    title: str
    unit: str
    digits: int = 1
    higher_is_better: bool = False


COLUMNS = {
    "mpjpe": Column("MPJPE", "mm"),
    "p_mpjpe": Column("P-MPJPE", "mm"),
    "n_mpjpe": Column("N-MPJPE", "mm"),
    "mpjve": Column("MPJVE", "mm/frame", digits=2),
    "mpjpe_frames": Column("MPJPE over frames", "mm"),  # every frame weighs the same, instead of every action
    "mpjpe_actions": Column("MPJPE over actions", "mm"),  # the other way round, where frames make the headline
    "pck": Column("PCK", "%", higher_is_better=True),
    "auc": Column("AUC", "%", higher_is_better=True),
}
ON_REQUEST = ("pck", "auc")  # columns of the benchmarks that publish or measure them
BY_GROUP = ("mpjpe", "p_mpjpe", "pck", "auc")  # what is shown of subjects, activities and the like
KINDS = ("subject", "sequence", "activity", "scene", "joint_group")  # of groups, in the order of a page
# Orders that names have of their own; others are sorted, numbers in them as numbers.
ORDERS = (H36M_17.joints, MPI_INF_3DHP_17.joints, tuple(MPI_INF_3DHP_GROUPS), ACTIVITIES, tuple(SCENES.values()))


@dataclass
class Row:
    """One method at one receptive field: what its paper reports, and the newest record of every seed."""

    method: str
    label: str
    frames: int | None
    trained: bool = True  # here; else published weights were tested
    scored_from: str | None = None  # what came from elsewhere, if it did
    published: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def seeds(self, metric: str) -> list[float]:
        """The metric of every seed that has it."""
        return [one.metrics[metric].value for one in self.records if metric in one.metrics]


# Everything at once


def write(check: bool = False, root: Path | None = None, results: Path | None = None) -> list[str]:
    """Render the page of every benchmark and of its sweeps, and the blocks of README.md; return the files that change.

    check: change nothing, only say what has drifted. root: the project. results: where records and tables lie, default
    `paths.results()`, or the results folder of a given root; README.md always shows the records of the project itself.
    Raises BenchError for a record that does not belong where it lies, and for a block that names no benchmark.
    """
    results = results or (root / "results" if root else paths.results())
    root = root or paths.root()
    configs = {path.stem: path for path in sorted((root / "configs").glob("*.yaml"))}
    benchmarks = {name: load_benchmark(path) for name, path in configs.items()}
    numbers = published(root / "results" / "published.csv")
    records = {name: _eligible(benchmark, results) for name, benchmark in benchmarks.items()}

    files = {
        results / "tables" / f"{name}.md": full(benchmark, records[name], numbers)
        for name, benchmark in benchmarks.items()
    }
    files |= sweep_outcome.pages(results)
    readme, own = root / "README.md", root / "results"
    if readme.exists():
        if own != results:
            records = {name: _eligible(benchmark, own) for name, benchmark in benchmarks.items()}
        blocks = {name: short(benchmark, records[name], numbers) for name, benchmark in benchmarks.items()}
        files[readme] = fill(readme.read_text(encoding="utf-8"), blocks)

    drifted = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in [] if check else drifted:
        paths.write_text(path, files[path])
    return [Path(os.path.relpath(path, root)).as_posix() for path in drifted]


def left_out(results: Path | None = None) -> list[str]:
    """Records that no table shows, a line each with the reason: other settings or other data than their benchmark's."""
    lines = []
    for path in sorted(paths.configs().glob("*.yaml")):
        benchmark = load_benchmark(path)
        for record in load(benchmark.name, (results or paths.results()) / "records"):
            if reasons := departures(record, benchmark):
                lines.append(f"results/records/{record.path.as_posix()}: {'; '.join(reasons)}")
    return lines


def departures(record: Record, benchmark: Benchmark) -> list[str]:
    """What keeps a record out of its benchmark's table: settings that are not the file's, a test set that is not whole.

    So an experiment with `SET=...`, or a run on sample files, never stands where a reader expects the benchmark.
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
        if record.weights is None:  # published ones tell what they are; nothing was trained before them here
            pairs |= {
                f"model.{key}": (record.model[key], NONE) for key in sorted(record.model.keys() - stated["model"])
            }
            pairs |= {"stages": (_names(record.stages), _names(stated["stages"]))}
            for stage in sorted(record.stages.keys() & stated["stages"]):
                taken = record.stages[stage].get("weights", {}).get("file", NONE)
                pairs[f"stages.{stage}.weights"] = (taken, NONE)  # somebody's, not what the file says to train
                for part in ("model", "recipe"):
                    ran, wanted = record.stages[stage].get(part, {}), stated["stages"][stage][part]
                    pairs |= _apart(ran, wanted, f"stages.{stage}.{part}.")
    return [
        f"{key} {_text(found)} instead of {_text(expected)}"
        for key, (found, expected) in pairs.items()
        if _text(found) != _text(expected)
    ]


def _apart(ran: Mapping[str, Any], stated: Mapping[str, Any], prefix: str) -> dict[str, tuple[Any, Any]]:
    """What was and what is stated, of every key that both have."""
    return {f"{prefix}{key}": (ran[key], stated[key]) for key in sorted(ran.keys() & stated.keys())}


def _names(stages: Mapping[str, Any]) -> str:
    return ", ".join(stages) or NONE


def _eligible(benchmark: Benchmark, results: Path) -> list[Record]:
    return [one for one in load(benchmark.name, results / "records") if not departures(one, benchmark)]


def fill(text: str, blocks: Mapping[str, str]) -> str:
    """Put a block between every pair of `<!-- table:NAME -->` and `<!-- /table:NAME -->` of a text."""
    pairs = re.compile(r"<!-- table:(\S+) -->\n.*?<!-- /table:\1 -->", re.DOTALL)
    for marker in re.findall(r"<!-- /?table:\S+ -->", pairs.sub("", text)):
        raise BenchError(f"README.md: {marker} has no partner; a block is <!-- table:NAME --> ... <!-- /table:NAME -->")

    def block(pair: re.Match[str]) -> str:
        name = pair[1]
        if name not in blocks:
            raise unknown("benchmark", name, blocks)
        return f"<!-- table:{name} -->\n\n{blocks[name]}\n\n<!-- /table:{name} -->"

    return pairs.sub(block, text)


# One benchmark


def full(benchmark: Benchmark, records: Sequence[Record], numbers: pd.DataFrame) -> str:
    """The page of a benchmark: every metric, cost, seeds, records; then every action; an accounting a section."""
    protocol = benchmark.protocol
    frames = " or ".join(str(one) for one in sorted({benchmark.frames(method) for method in benchmark.methods}))
    over_frames = protocol.averaging == "frames"
    scored = "valid test frame" if over_frames else "test frame"
    parts = [
        f"# {benchmark.title}",
        f"<!-- Rendered by `make tables` from results/ and configs/{benchmark.name}.yaml: edits are lost. -->",
        *_crossing(protocol),
        f"Data set {protocol.tested_on.dataset}, 2D keypoints {protocol.tested_on.keypoints}, {frames} frames, "
        f"tested on {', '.join(protocol.test_subjects)}. Measured numbers count every {scored} once, the predicted "
        "root at zero; ± is the standard deviation over seeds. The best of a column is bold, if there is a choice."
        + (_OVER_FRAMES if over_frames else ""),
        *_section(protocol, rows(benchmark, records, numbers)),
    ]
    if others := [one for one in rows(benchmark, records, numbers, accounting="as-published") if one.records]:
        parts += ["## Accounting as published", _AS_PUBLISHED, *_section(protocol, others, bold=False)]
    parts += _sources(numbers[numbers["benchmark"] == benchmark.name])
    return "\n\n".join(parts) + "\n"


_AS_PUBLISHED = (
    "Each row is counted by the rules of its method's own code, in the notes. They differ, so rows do not compare with "
    "each other or with those above, only with their own published numbers; nothing is bold."
)

_OVER_FRAMES = (
    " They are means over these frames; the MPJPE over actions is the plain mean over the test sequences, which some "
    "papers report."
)


def _crossing(protocol: Protocol) -> list[str]:
    """What a reader of a benchmark that tests on other data than it trains on has to know, wherever it is shown."""
    trained_on, tested_on = (
        f"{one.dataset} ({one.keypoints} keypoints)" for one in (protocol.trained_on, protocol.tested_on)
    )
    line = (
        f"Trained on {trained_on}, tested on {tested_on}: how far what is learnt on the one carries to the other. Only "
        "joints at the same place in both are scored, and nothing is rescaled (docs/protocols.md)."
    )
    return [line] if protocol.crosses else []


def short(benchmark: Benchmark, records: Sequence[Record], numbers: pd.DataFrame) -> str:
    """The block of a benchmark in README.md: headline metrics, size, records."""
    table = rows(benchmark, records, numbers)
    columns = {
        **_methods(table),
        **_metrics(table, ["mpjpe", "pck", "auc"] if _has(table, "pck") else ["mpjpe", "p_mpjpe"]),
        "Parameters": [_size(one, "parameters") for one in table],
        "Record": [_links(one, "results/records") for one in table],
    }
    more = f"All metrics, every action: [results/tables/{benchmark.name}.md](results/tables/{benchmark.name}.md)"
    return "\n\n".join([*_crossing(benchmark.protocol), _markdown(columns), *_footnotes(table), more])


def terminal(benchmark: Benchmark, records: Iterable[Record]) -> str:
    """The measured methods of a benchmark as plain text, published MPJPE beside, and each MPJPE over mean_pose's."""
    table = [one for one in rows(benchmark, records, published(), benchmark.protocol.accounting) if one.records]
    shown = [name for name in COLUMNS if any(one.seeds(name) for one in table)]
    columns = {
        "Method": [one.label for one in table],
        "Seeds": [_seeds(one) for one in table],
        **_metrics(table, shown, bold=False),
    }
    means = [statistics.fmean(one.seeds("mpjpe") or [math.nan]) for one in table]
    floor = next((mean for one, mean in zip(table, means, strict=True) if one.method == "mean_pose"), math.nan)
    if floor > 0:
        columns["vs mean_pose"] = [NONE if math.isnan(mean) else f"{mean / floor:.2f}x" for mean in means]
    text = tabulate(columns, headers="keys", tablefmt="simple", disable_numparse=True, colalign=_alignment(columns))
    text = "\n\n".join([*_crossing(benchmark.protocol), text])
    if benchmark.protocol.accounting == "shared":
        return text
    rules = [f"  {one.label}: counted as by {_preset(one)}" for one in table]
    return "\n".join([text, "", "Accounting as published: rows do not compare with each other.", *rules])


def details(record: Record) -> str:
    """Every action and every joint of a record, as plain text."""
    shown = {name: column for name, column in COLUMNS.items() if name in record.metrics}
    whole = {"all": {name: metric.value for name, metric in record.metrics.items()}}
    parts = []
    for title, part in (("Action", record.per_action | whole), ("Joint", record.per_joint)):
        columns = {title: list(part)}
        for name, column in shown.items():
            if any(name in values for key, values in part.items() if key != "all"):
                cells = [[values[name]] if name in values else [] for values in part.values()]
                columns[f"{column.title} ({column.unit})"] = _numbers(cells, column, bold=False)
        alignment = ["left", *["right"] * (len(columns) - 1)]
        parts.append(tabulate(columns, headers="keys", tablefmt="simple", disable_numparse=True, colalign=alignment))
    return "\n\n".join(parts)


def rows(
    benchmark: Benchmark, records: Iterable[Record], numbers: pd.DataFrame, accounting: str = "shared"
) -> list[Row]:
    """A row for each method and receptive field: published, measured, or only configured; in that order.

    What was made elsewhere and only scored here stands below.

    Raises BenchError for a record of another benchmark, data set, kind of keypoints or unit.
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
        if line["note"]:
            one.notes.append(f"Published: {line['note']}")
    order = [one.method for one in table.values()] + list(benchmark.methods)
    for record in sorted(newest(records), key=lambda one: (one.method, one.seed)):
        _check_belongs(record, benchmark)
        if record.accounting == accounting:
            made = (record.weights is None, record.scored_from)
            row(record.method, record.receptive_field, *made).records.append(record)
    for method in benchmark.methods:
        if all(one.method != method or one.scored_from for one in table.values()):
            row(method, benchmark.frames(method))
    for one in table.values():
        if accounting == "as-published" and one.records:
            one.notes.append(f"Measured and counted as by {_preset(one)}")
        if any(record.training.get("kept") == "best-test" for record in one.records):
            one.notes.append(
                "Measured with the weights that scored best on the test set, as the method's own code does"
            )
    order += sorted({one.method for one in table.values()} - set(order))

    def place(one: Row) -> tuple[Any, ...]:
        return one.scored_from is not None, order.index(one.method), one.frames or 0, not one.trained, one.label

    return sorted(table.values(), key=place)


def _preset(row: Row) -> Preset:
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
        if name in COLUMNS and metric.unit != COLUMNS[name].unit:
            raise BenchError(f"{where}: metrics.{name} is in {metric.unit!r}, tables show {COLUMNS[name].unit!r}")


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# Columns: one cell a row


def _methods(table: Sequence[Row]) -> dict[str, list[str]]:
    notes = _notes(table)
    marks = [",".join(str(notes.index(note) + 1) for note in dict.fromkeys(one.notes)) for one in table]
    return {
        "Method": [one.label + (f" <sup>{mark}</sup>" if mark else "") for one, mark in zip(table, marks, strict=True)],
        "Frames": [str(one.frames or NONE) for one in table],
    }


def _metrics(table: Sequence[Row], names: Iterable[str], bold: bool = True) -> dict[str, list[str]]:
    """The measured column of each metric and, where papers report it, the published one before it."""
    columns = {}
    any_published = any(one.published for one in table)
    for name in names:
        column = COLUMNS[name]
        if any(name in one.published for one in table):
            reported = [[one.published[name]] if name in one.published else [] for one in table]
            columns[f"{column.title} published ({column.unit})"] = _numbers(reported, column, bold)
        title = f"{column.title} measured ({column.unit})" if any_published else f"{column.title} ({column.unit})"
        columns[title] = _numbers([one.seeds(name) for one in table], column, bold)
    return columns


def _numbers(values: Sequence[Sequence[float]], column: Column, bold: bool = True) -> list[str]:
    """Mean and standard deviation over seeds; in bold what is best as shown, where there are two to compare."""
    means = [round(statistics.fmean(seeds), column.digits) if seeds else None for seeds in values]
    known = [mean for mean in means if mean is not None]
    best = (max if column.higher_is_better else min)(known) if bold and len(known) > 1 else None
    cells = []
    for mean, seeds in zip(means, values, strict=True):
        spread = f" ± {statistics.stdev(seeds):.{column.digits}f}" if len(seeds) > 1 else ""
        cell = NONE if mean is None else f"{mean:.{column.digits}f}{spread}"
        cells.append(f"**{cell}**" if mean is not None and mean == best else cell)
    return cells


def _size(row: Row, key: Literal["parameters", "macs_per_frame"]) -> str:
    """A count with three digits and k, M, G; 0 for what has nothing to train."""
    counts = [count for one in row.records if (count := getattr(one, key)) is not None]
    if not counts:
        return NONE
    count = float(f"{counts[0]:.3g}")
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:#.3g}".rstrip(".") + f" {letter}"
    return f"{count:.0f}"


def _seeds(row: Row) -> str:
    return ", ".join(str(one.seed) for one in row.records) or NONE


def _links(row: Row, folder: str) -> str:
    return " ".join(f"[s{one.seed}]({folder}/{one.path.as_posix()})" for one in row.records) or UNMEASURED


# Parts of a page


def _section(protocol: Protocol, table: Sequence[Row], bold: bool = True) -> list[str]:
    """The full table with its notes, and the tables of actions, groups and joints."""
    headline = f"mpjpe_{protocol.averaging}"  # is `mpjpe` itself
    names = [name for name in COLUMNS if name != headline and (name not in ON_REQUEST or _has(table, name))]
    columns = {
        **_methods(table),
        **_metrics(table, names, bold),
        "Parameters": [_size(one, "parameters") for one in table],
        "MACs/frame": [_size(one, "macs_per_frame") for one in table],
        "Seeds": [_seeds(one) for one in table],
        "Record": [_links(one, "../records") for one in table],
    }
    return [
        _markdown(columns),
        *_footnotes(table),
        *_usages(table, bold),
        *_per_action(table, bold),
        *_groups(table, bold),
        *_joints(table, bold),
    ]


def _usages(table: Sequence[Row], bold: bool) -> list[str]:
    """The three numbers that papers give for MPI-INF-3DHP, side by side."""
    shown = [one for one in table if one.seeds("mpjpe_w2929")]
    columns = {"Method": [one.label for one in shown], "Frames": [str(one.frames or NONE) for one in shown]}
    for what, suffixes in USAGES.items():
        for metric in ("mpjpe", "pck", "auc"):
            column = COLUMNS[metric]
            found = [next((seeds for suffix in suffixes if (seeds := one.seeds(metric + suffix))), []) for one in shown]
            columns[f"{column.title}, {what} ({column.unit})"] = _numbers(found, column, bold)
    return ["## Three usages of one number", _USAGES, _markdown(columns)] if shown else []


# What MPI-INF-3DHP's single number is a mean of, and what the records call it, whichever is the headline.
USAGES = {"valid frames": ("_frames", ""), "six sequences": ("_actions", ""), "2,929 weights": ("_w2929",)}
_USAGES = (
    "Papers differ in how six test sequences become one number. Over all valid frames, as the row `All` of the "
    "official activity table; the plain mean of the six sequences (D3DP; the MPJPE that Diff3DHPE prints); the six "
    "weighted by the frames of an older release of the labels, 2,929 in all (the official README, P-STMO)."
)


def _per_action(table: Sequence[Row], bold: bool) -> list[str]:
    if any("sequence" in record.groups for one in table for record in one.records):
        return []  # the actions of such data are their sequences, which have tables of their own
    return _by_name(table, "action", "mpjpe", [[record.per_action for record in one.records] for one in table], bold)


def _groups(table: Sequence[Row], bold: bool) -> list[str]:
    """A table for each kind of group and metric, if there is more than one group."""
    lines = []
    for kind in KINDS:
        found = [[record.groups.get(kind, {}) for record in one.records] for one in table]
        if len({name for seeds in found for groups in seeds for name in groups}) > 1:
            parts = [part for metric in BY_GROUP for part in _by_name(table, kind, metric, found, bold)]
            lines += [*parts[:1], *_group_sizes(kind, found), *parts[1:]]  # sizes below the first title
    return lines


def _joints(table: Sequence[Row], bold: bool) -> list[str]:
    return _by_name(table, "joint", "mpjpe", [[record.per_joint for record in one.records] for one in table], bold)


Values = Mapping[str, Mapping[str, float]]  # name -> metric -> value


def _group_sizes(kind: str, found: Sequence[Sequence[Values]]) -> list[str]:
    """How many frames each group has, which all records of a benchmark share."""
    if kind == "joint_group":
        return []  # each has all of them
    counts = {name: values.get("frames", 0) for seeds in found for groups in seeds for name, values in groups.items()}
    return [f"Scored frames by {kind}: " + "; ".join(f"{name} {counts[name]:,}" for name in _ordered(counts))]


def _by_name(table: Sequence[Row], kind: str, metric: str, found: Sequence[Sequence[Values]], bold: bool) -> list[str]:
    """One metric by action, group or joint. found: what every seed of each row has."""
    column = COLUMNS[metric]
    measured: dict[int, dict[str, list[float]]] = {}  # row -> name -> value of every seed
    for number, seeds in enumerate(found):
        for names in seeds:
            for name, values in names.items():
                if metric in values:
                    measured.setdefault(number, {}).setdefault(name, []).append(values[metric])
    shown = [table[number] for number in measured]
    columns = {"Method": [one.label for one in shown], "Frames": [str(one.frames or NONE) for one in shown]}
    for name in _ordered({name for names in measured.values() for name in names}):
        columns[name] = _numbers([names.get(name, []) for names in measured.values()], column, bold)
    title = f"## Measured {column.title} ({column.unit}) per {kind.replace('_', ' ')}"
    return [title, _markdown(columns)] if measured else []


def _ordered(names: Collection[str]) -> list[str]:
    """Names of actions, groups or joints as their data set lists them, or sorted with S9 before S11."""
    known: tuple[str, ...] = next((order for order in ORDERS if set(names) <= set(order)), ())

    def place(name: str) -> tuple[int, list[tuple[int, str]]]:
        words = [(int(word), "") if word.isdigit() else (0, word) for word in re.split(r"(\d+)", name)]
        return known.index(name) if name in known else len(known), words

    return sorted(names, key=place)


def _sources(numbers: pd.DataFrame) -> list[str]:
    """Where the published columns come from: a line a source."""
    lines = []
    for source in dict.fromkeys(numbers["source"]):
        quoted = numbers[numbers["source"] == source]
        papers = dict.fromkeys(
            f"{label} ({paper})" for label, paper in zip(quoted["label"], quoted["paper"], strict=True)
        )
        lines.append(f"- {', '.join(papers)}: {source}")
    return ["## Sources of the published numbers", "\n".join(lines)] if lines else []


def _notes(table: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(note for one in table for note in one.notes))


def _footnotes(table: Sequence[Row]) -> list[str]:
    lines = [f"{number}. {note}." for number, note in enumerate(_notes(table), start=1)]
    return ["\n".join(lines)] if lines else []


def _has(table: Sequence[Row], metric: str) -> bool:
    return any(metric in one.published or one.seeds(metric) for one in table)


def _markdown(columns: dict[str, list[str]]) -> str:
    return tabulate(columns, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=_alignment(columns))


def _alignment(columns: Iterable[str]) -> list[str]:
    return ["left" if title in ("Method", "Seeds", "Record") else "right" for title in columns]
