"""Result tables, made from results/ and configs/ alone: neither torch nor mlflow is needed.

`write` renders `results/tables/*.md` and the marked blocks of README.md (or lists what is out of date), `terminal` is
the table that a finished run prints. Published and measured numbers have columns of their own; a measured number links
to its record.
"""

from bench.show.tables.gather import departures, left_out, own_numbers, rows, shown
from bench.show.tables.model import NONE
from bench.show.tables.pages import write
from bench.show.tables.plain import details, terminal

__all__ = ["NONE", "departures", "details", "left_out", "own_numbers", "rows", "shown", "terminal", "write"]
