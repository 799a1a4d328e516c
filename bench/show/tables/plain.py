"""Tables for the terminal: the table of a finished run, and every number of one record."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from tabulate import tabulate

from bench.config.schema import Benchmark
from bench.results.metrics import columns, described, further
from bench.results.records import Record, published
from bench.show.tables.content import metric_columns, seeds_column
from bench.show.tables.gather import preset, rows
from bench.show.tables.model import NONE, Cell, Column, Values, numbers
from bench.show.tables.pages import crossing


def terminal(benchmark: Benchmark, records: Iterable[Record]) -> str:
    """The measured methods of a benchmark as plain text, published MPJPE beside, and each MPJPE over mean_pose's."""
    table = [one for one in rows(benchmark, records, published(), benchmark.protocol.accounting) if one.records]
    shown = [name for name in columns() if any(one.seeds(name) for one in table)]
    made = [
        Column("Method", [Cell(one.label) for one in table]),
        seeds_column(table),
        *metric_columns(table, shown, ranked=False),
    ]
    means = [statistics.fmean(one.seeds("mpjpe").values() or [math.nan]) for one in table]
    floor = next((mean for one, mean in zip(table, means, strict=True) if one.method == "mean_pose"), math.nan)
    if floor > 0:
        ratios = [NONE if math.isnan(mean) else f"{mean / floor:.2f}x" for mean in means]
        made.append(Column("vs mean_pose", [Cell(ratio) for ratio in ratios]))
    text = "\n\n".join([*crossing(benchmark.protocol), _plain(made)])
    if benchmark.protocol.accounting == "shared":
        return text
    rules = [f"  {one.label}: counted as by {preset(one)}" for one in table]
    return "\n".join([text, "", "Accounting as published: rows do not compare with each other.", *rules])


def details(record: Record) -> str:
    """Every action and every joint of a record, as plain text."""
    shown = {
        name: metric for name in [*columns(), *further()] if name in record.metrics and (metric := described(name))
    }
    whole = {"all": {name: metric.value for name, metric in record.metrics.items()}}
    parts = []
    for title, part in (("Action", record.per_action | whole), ("Joint", record.per_joint)):
        names = Column(title, [Cell(name) for name in part])
        made = [names]
        for name, metric in shown.items():
            if any(name in values for key, values in part.items() if key != "all"):
                cells: list[Values] = [{None: values[name]} if name in values else {} for values in part.values()]
                made.append(Column(f"{metric.title} ({metric.unit})", numbers(cells, metric, ranked=False)))
        parts.append(_plain(made, left=names))
    return "\n\n".join(parts)


def _plain(columns: list[Column], left: Column | None = None) -> str:
    cells = {column.title: [cell.text for cell in column.cells] for column in columns}
    alignment = ["left" if column.left or column is left else "right" for column in columns]
    return tabulate(cells, headers="keys", tablefmt="simple", disable_numparse=True, colalign=alignment)
