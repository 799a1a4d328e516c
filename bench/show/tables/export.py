"""One kind of table, of one benchmark or of all, in the format for a paper, a web page or a script."""

from __future__ import annotations

from typing import NamedTuple

from bench.config.load import benchmark_names, load_benchmark
from bench.config.schema import Benchmark
from bench.results.records import published
from bench.show.tables import csv, html, latex, markdown
from bench.show.tables.content import all_tables
from bench.show.tables.gather import rows, shown
from bench.show.tables.model import Table
from bench.system.errors import BenchError


class Found(NamedTuple):
    """A table, with its benchmark and accounting."""

    benchmark: str
    title: str
    accounting: str
    table: Table

    @property
    def caption(self) -> str:
        apart = "counted as published code counts: rows are not comparable" if self.accounting != "shared" else ""
        return ". ".join(part for part in (self.title, self.table.title, apart) if part)

    @property
    def label(self) -> str:
        metric = next((column.metric for column in self.table.columns if column.metric), "")
        parts = [] if self.table.by == "benchmark" else [self.table.by, metric]
        return ":".join(["tab", self.benchmark, *parts, *([] if self.accounting == "shared" else [self.accounting])])


def export(form: str, benchmark: str | None = None, by: str = "benchmark", records: str = "results/records") -> str:
    """The tables as text. form: markdown, latex, csv or html. by: as `Table.by`.

    benchmark: a name in configs/, None: every one. records: where links to records lead. Records counted as published
    code counts have a table of their own. Raises BenchError if the benchmark is unknown or has no such table.
    """
    names = [benchmark] if benchmark else benchmark_names()
    found = [one for name in names for one in _tables(load_benchmark(name), by)]
    if not found:
        kind = by.replace("_", " ")
        raise BenchError(f"no record of {benchmark or 'any benchmark'} has a table by {kind}; bench run makes records")
    if form == "csv":
        return csv.render((one.benchmark, one.accounting, one.table) for one in found)
    if form == "latex":
        parts = [latex.render(one.table, f"{one.caption}.", one.label) for one in found]
    elif form == "html":
        parts = [html.STYLE, *(html.render(one.table, one.caption, records) for one in found)]
    else:
        parts = [f"# {one.title}\n\n{markdown.render(one.table, records)}" for one in found]
    return "\n\n".join(parts) + "\n"


def _tables(benchmark: Benchmark, by: str) -> list[Found]:
    measured, numbers = shown(benchmark), published()
    ours = rows(benchmark, measured, numbers, beside=True)
    others = [one for one in rows(benchmark, measured, numbers, "as-published", beside=True) if one.records]
    tables = [("shared", one) for one in all_tables(benchmark.protocol, ours)]
    if others:
        tables += [("as-published", one) for one in all_tables(benchmark.protocol, others, ranked=False)]
    return [Found(benchmark.name, benchmark.title, accounting, table) for accounting, table in tables if table.by == by]
