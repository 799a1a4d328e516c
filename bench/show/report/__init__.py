"""The report: one HTML file that shows what the records and the finished runs hold; it loads nothing from the network.

`gather` collects what is shown as plain data, `runs` adds data from the folders of finished runs, `render` puts the
data, the style and the scripts into one page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.show.report.gather import gather
from bench.show.report.render import render
from bench.system import paths
from bench.system.paths import shown


def default_path() -> Path:
    """The default path of the report."""
    return paths.results() / "report.html"


def write_report(output: Path | None = None, benchmarks: Sequence[str] = (), *, data: str | Path | None = None) -> str:
    """Write the report and return a summary of its content.

    output: default `default_path()`. benchmarks: names in configs/, default all. data: the folder of the data sets'
    files, used if the cache lacks them. Raises BenchError if a benchmark is unknown, or a record is damaged or in the
    wrong place.
    """
    path = output or default_path()
    content = gather(benchmarks, beside=path.parent, data=data)
    text = render(content)
    paths.write_text(path, text)
    lines = [f"written     {shown(path)}  ({len(text.encode()) / 1e6:.1f} MB; open it in a browser)"]
    return "\n".join([*lines, *map(_line, content["benchmarks"])])


def log_report(path: Path) -> str:
    """Keep a copy of a written report in the log, as a run of the experiment `report`; returns where, as text."""
    from bench.data.files.archive import file_digest
    from bench.results.tracking import open_tracker

    tracker, digest = open_tracker("report"), file_digest(path)
    with (
        tracker.invocation("bench report", {"report_sha256": digest}) as invocation,
        invocation.run("report", run_key=digest, params={}, tags={}) as run,
    ):
        run.file(path)
    return f"tracked in  {tracker.where}, experiment report" if tracker.where else "tracked in  nothing"


def _line(benchmark: dict[str, Any]) -> str:
    """What the report contains for one benchmark, as a line of text."""
    rows = [row for board in benchmark["boards"] for row in board["rows"]]
    records, courses = sum(len(row["records"]) for row in rows), len(benchmark["courses"])
    nothing = "published numbers only" if any(row["published"] for row in rows) else "nothing yet"
    parts = [f"{records} record{'s' * (records != 1)}" if records else nothing]
    if courses:
        parts.append(f"{courses} training curve{'s' * (courses != 1)}")
    if benchmark["pck"]:
        parts.append(f"predictions of {len(benchmark['pck']['curves'])} methods")
    if benchmark["viewer"]:
        parts.append(f"{len(benchmark['viewer']['clips'])} clips")
    problems = [f"\n            {problem}" for problem in benchmark["problems"]]
    return f"  {benchmark['name']:<24}  {', '.join(parts)}" + "".join(problems)
