"""Tables as tidy CSV: one line per number, with all its digits and its source."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Iterator

from bench.show.tables.model import Cell, Column, Row, Table, deviation

FIELDS = (
    "benchmark", "accounting", "method", "label", "frames", "by", "name", "metric", "kind", "value", "sd", "unit",
    "seeds", "source",
)  # fmt: skip


def render(tables: Iterable[tuple[str, str, Table]]) -> str:
    """tables: benchmark, accounting and table. `sd` is the standard deviation over the seeds, empty of one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for benchmark, accounting, table in tables:
        for line in _lines(table):
            writer.writerow({"benchmark": benchmark, "accounting": accounting, "by": table.by, **line})
    return text.getvalue()


def _lines(table: Table) -> Iterator[dict[str, object]]:
    for number, row in enumerate(table.rows):
        for column in table.columns:
            cell = column.cells[number]
            if column.kind and cell.values:
                yield {
                    "method": row.method,
                    "label": row.label,
                    "frames": row.frames or "",
                    "name": column.name,
                    "metric": column.metric,
                    "kind": column.kind,
                    "value": f"{statistics.fmean(cell.values.values()):.10g}",
                    "sd": f"{deviation(cell.values):.6g}" if len(cell.values) > 1 else "",
                    "unit": column.unit,
                    "seeds": " ".join(str(seed) for seed in cell.values if seed is not None),
                    "source": _source(row, column, cell),
                }


def _source(row: Row, column: Column, cell: Cell) -> str:
    if column.kind == "published":
        return row.sources[column.metric]
    return " ".join(f"results/records/{one.path.as_posix()}" for one in row.records if one.seed in cell.values)
