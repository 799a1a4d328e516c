"""A table in Markdown: the best in bold, notes as a list below, records as links."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from bench.results.records import Record
from bench.show.tables.model import Cell, Column, Table


def render(table: Table, records: str | None = "results/records") -> str:
    """A table as paragraphs: title, text, rows, notes. records: where links to records lead; None: no links."""
    parts = [f"## {table.title}" if table.title else "", table.about, _pipes(table.columns, records), _notes(table)]
    return "\n\n".join(part for part in parts if part)


def _pipes(columns: Sequence[Column], records: str | None) -> str:
    cells = {column.title: [_cell(cell, records) for cell in column.cells] for column in columns}
    alignment = ["left" if column.left else "right" for column in columns]
    return tabulate(cells, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=alignment)


def _cell(cell: Cell, records: str | None) -> str:
    if cell.records:
        return " ".join(_seed(one, records) for one in cell.records)
    text = f"**{cell.text}**" if cell.rank == 1 else cell.text
    text += f" {cell.interval}" if cell.interval else ""
    return text + (f" <sup>{','.join(map(str, cell.marks))}</sup>" if cell.marks else "")


def _seed(record: Record, records: str | None) -> str:
    seed = f"s{record.seed}"
    return f"[{seed}]({records}/{record.path.as_posix()})" if records else seed


def _notes(table: Table) -> str:
    return "\n".join(f"{number}. {note}." for number, note in enumerate(table.notes, start=1))
