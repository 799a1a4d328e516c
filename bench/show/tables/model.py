"""A table, independent of its format: a row per method, columns of cells, notes.

`bench.show.tables.content` fills it, `markdown`, `latex`, `html` and `csv` write it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.results.metrics import Metric
from bench.results.records import Record
from bench.results.statistics import averaged, headline_interval, recorded

NONE, UNMEASURED = "—", "not measured yet"


Values = Mapping[int | None, float]  # by seed; a published number has the seed None


@dataclass
class Row:
    """One method at one receptive field: what its paper reports, and the newest record of every seed."""

    method: str
    label: str
    frames: int | None
    trained: bool = True  # in this suite; else published weights were tested
    scored_from: str | None = None  # "predictions" or a kind of model, if it was made elsewhere
    published: dict[str, float] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)  # of the published numbers, by metric
    notes: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def seeds(self, metric: str) -> dict[int | None, float]:
        """The value of a metric for every seed that has it."""
        return {one.seed: one.metrics[metric].value for one in self.records if metric in one.metrics}

    def interval(self, metric: str) -> tuple[float, float] | None:
        """The 95 % interval over test sequences, of several seeds that of their mean; None where records have none."""
        found = [one.metrics[metric].ci for one in self.records if metric in one.metrics]
        if len(found) < 2 or None in found:
            return found[0] if len(found) == 1 else None
        seeds = [recorded(one, metric) for one in self.records]
        if not all(map(len, seeds)):
            return None
        shown = headline_interval(averaged(seeds))
        return (shown.low, shown.high) if shown else None


@dataclass(frozen=True)
class Cell:
    """The content of one cell, before any markup."""

    text: str
    rank: Literal[0, 1, 2] = 0  # 1: the best of its column as shown, 2: the second; ties share a rank
    values: Values = field(default_factory=dict)  # the numbers behind the text, all digits
    marks: tuple[int, ...] = ()  # numbers of the table's notes, from 1
    records: tuple[Record, ...] = ()  # that the text links to, one per seed
    interval: str = ""  # of the number, where there is room to show it


@dataclass(frozen=True)
class Column:
    """A cell for each row. A column of numbers also has metric, unit, kind, and the action, group or joint."""

    title: str
    cells: Sequence[Cell]
    metric: str = ""
    unit: str = ""
    kind: Literal["", "published", "measured"] = ""
    name: str = ""
    pair: str = ""  # the title that a published and a measured column share, in formats with two lines of titles

    @property
    def left(self) -> bool:
        """Whether it is text, which starts at the left; numbers end at the right."""
        return self.title in ("Method", "Paper", "Seeds", "Record", "Device")


@dataclass(frozen=True)
class Table:
    """One row per method. by: what the columns tell apart: "benchmark", "action", "joint" and so on."""

    by: str
    title: str
    rows: Sequence[Row]
    columns: Sequence[Column]
    about: str = ""
    notes: Sequence[str] = ()


def numbers(values: Sequence[Values], shown: Metric, ranked: bool = True) -> list[Cell]:
    """Mean and standard deviation over seeds, ranked as shown where there are two to compare."""
    means = [round(statistics.fmean(seeds.values()), shown.digits) if seeds else None for seeds in values]
    known = {mean for mean in means if mean is not None}
    order = sorted(known, reverse=shown.higher_is_better) if ranked and sum(map(bool, values)) > 1 else []
    cells = []
    for mean, seeds in zip(means, values, strict=True):
        spread = f" ± {deviation(seeds):.{shown.digits}f}" if len(seeds) > 1 else ""
        cell = Cell(NONE if mean is None else f"{mean:.{shown.digits}f}{spread}", values=seeds)
        cells.append(replace(cell, rank=1 if mean in order[:1] else 2 if mean in order[1:2] else 0))
    return cells


def deviation(seeds: Values) -> float:
    """The standard deviation over seeds; NaN of one."""
    return statistics.stdev(seeds.values()) if len(seeds) > 1 else math.nan
