"""A table as a fragment of HTML without scripts or other files; its style is part of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.show.tables.model import Cell, Column, Table

STYLE = """\
<style>
.bench-table table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.bench-table caption { text-align: left; font-weight: bold; padding: 0.4em 0; }
.bench-table th, .bench-table td { padding: 0.2em 0.6em; text-align: right; white-space: nowrap; }
.bench-table .text { text-align: left; }
.bench-table thead th { border-bottom: 1px solid currentColor; vertical-align: bottom; white-space: normal; }
.bench-table .published { font-style: italic; }
.bench-table .best { font-weight: bold; }
.bench-table .second { text-decoration: underline; }
.bench-table .interval { font-weight: normal; font-size: smaller; }
</style>"""


def render(table: Table, caption: str, records: str = "results/records") -> str:
    """A `<section class="bench-table">`, to be placed below `STYLE`. records: where links to records lead.

    Cells have the classes `published` or `measured`, `best`, `second`; the notes are a list below.
    """
    head = "".join(
        f'<th scope="col"{_classes(column.kind, _text(column))}>{escape(column.title)}</th>' for column in table.columns
    )
    rows = [f"<tr>{_row(table.columns, number, records)}</tr>" for number in range(len(table.rows))]
    lines = [
        f'<section class="bench-table" data-by="{escape(table.by)}">',
        *([f"<p>{escape(table.about)}</p>"] if table.about else []),
        "<table>",
        f"<caption>{escape(caption)}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody>",
        "</table>",
        *_notes(table),
        "</section>",
    ]
    return "\n".join(lines)


def _row(columns: Sequence[Column], number: int, records: str) -> str:
    first, *others = [(column, column.cells[number]) for column in columns]
    cells = [f'<th scope="row" class="text">{_cell(first[1], records)}</th>']
    for column, cell in others:
        rank = {1: "best", 2: "second"}.get(cell.rank, "")
        cells.append(f"<td{_classes(column.kind, rank, _text(column))}>{_cell(cell, records)}</td>")
    return "".join(cells)


def _text(column: Column) -> str:
    return "text" if column.left else ""


def _classes(*names: str) -> str:
    kept = " ".join(name for name in names if name)
    return f' class="{kept}"' if kept else ""


def _cell(cell: Cell, records: str) -> str:
    if cell.records:
        links = ((f"{records}/{one.path.as_posix()}", f"s{one.seed}") for one in cell.records)
        return " ".join(f'<a href="{escape(address)}">{text}</a>' for address, text in links)
    text = escape(cell.text) + (f' <span class="interval">{escape(cell.interval)}</span>' if cell.interval else "")
    return text + (f"<sup>{','.join(map(str, cell.marks))}</sup>" if cell.marks else "")


def _notes(table: Table) -> list[str]:
    items = [f"<li>{escape(note)}.</li>" for note in table.notes]
    return ['<ol class="notes">', *items, "</ol>"] if items else []
