r"""A table in LaTeX, for papers: needs `\usepackage{booktabs}` and nothing else.

The best of a column is bold, the second underlined; notes are below, and comments name the records that it is made of.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from bench.show.tables.model import Cell, Column, Row, Table

WIDE = 10  # columns; more are set small, their titles in several lines

ESCAPES = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "—": "--",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
}


def render(table: Table, caption: str, label: str) -> str:
    """A `table*` environment. Rows and columns without a number are left out, and the columns of seeds and records."""
    kept = [
        any(cell.values for cell in cells) for cells in zip(*(column.cells for column in table.columns), strict=True)
    ]
    said = [one for one in table.columns if not one.kind or any(cell.values for cell in one.cells)]
    columns = [_kept(column, kept) for column in said if column.title not in ("Seeds", "Record")]
    rows = list(itertools.compress(table.rows, kept))
    wide = len(columns) > WIDE
    lines = [
        *(f"% {line}" for row in rows for line in _origins(row)),
        r"\begin{table*}",
        r"  \centering",
        rf"  \caption{{{escape(caption)}}}",
        rf"  \label{{{label}}}",
        *([r"  \scriptsize", r"  \setlength{\tabcolsep}{3pt}"] if wide else []),
        rf"  \begin{{tabular}}{{{''.join('l' if column.left else 'r' for column in columns)}}}",
        r"    \toprule",
        *_titles(columns, wide),
        r"    \midrule",
        *(_line(_cell(column.cells[number]) for column in columns) for number in range(len(rows))),
        r"    \bottomrule",
        r"  \end{tabular}",
        *_notes(table, columns),
        r"\end{table*}",
    ]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return re.sub("|".join(map(re.escape, ESCAPES)), lambda found: ESCAPES[found[0]], text)


def _kept(column: Column, kept: Sequence[bool]) -> Column:
    return Column(**{**vars(column), "cells": list(itertools.compress(column.cells, kept))})


def _origins(row: Row) -> list[str]:
    """Where the numbers of a row come from: one comment line each."""
    published = [f"{row.label}: published in {source}" for source in dict.fromkeys(row.sources.values())]
    return published + [f"{row.label}: results/records/{one.path.as_posix()}" for one in row.records]


def _titles(columns: Sequence[Column], wide: bool) -> list[str]:
    """One line of titles, or two where a published and a measured column share one."""
    spans = [(pair, list(group)) for pair, group in itertools.groupby(columns, lambda one: one.pair or one.title)]
    if not any(len(group) > 1 for _, group in spans):
        return [_line(_broken(column.title) if wide else escape(column.title) for column in columns)]
    above: list[str] = []
    rules: list[str] = []
    below: list[str] = []
    at = 1
    for title, group in spans:
        if len(group) > 1:
            text = _broken(title) if wide else escape(title)
            above.append(rf"\multicolumn{{{len(group)}}}{{c}}{{{text}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + len(group) - 1}}}")
            below += [column.kind for column in group]
        else:
            above.append("")
            below.append(_broken(group[0].title) if wide else escape(group[0].title))
        at += len(group)
    return [_line(above), f"    {' '.join(rules)}", _line(below)]


def _broken(title: str) -> str:
    """A title of several words in as many lines."""
    words = [escape(word) for word in title.split()]
    return r"\shortstack{" + r"\\".join(words) + "}" if len(words) > 1 else words[0]


def _line(cells: Iterable[str]) -> str:
    return "    " + " & ".join(cells) + r" \\"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    marked = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.rank, text)
    return marked + (rf"\textsuperscript{{{','.join(map(str, cell.marks))}}}" if cell.marks else "")


def _notes(table: Table, columns: Sequence[Column]) -> list[str]:
    """The notes that the remaining rows refer to."""
    used = sorted({mark for column in columns for cell in column.cells for mark in cell.marks})
    lines = [rf"  \par\footnotesize {escape(table.about)}"] if table.about else []
    lines += [rf"  \par\footnotesize\textsuperscript{{{mark}}} {escape(table.notes[mark - 1])}." for mark in used]
    return ([r"  \par\smallskip"] if lines else []) + lines
