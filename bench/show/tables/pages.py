"""Generated Markdown: `results/tables/*.md`, `docs/results.md` and the marked blocks of README.md.

All of it is made from results/ and configs/ alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.config.load import load_benchmark
from bench.config.schema import Benchmark, Protocol
from bench.results.records import Record, published
from bench.show import sweeps
from bench.show.tables import markdown
from bench.show.tables.content import all_tables, papers_table, short_table
from bench.show.tables.gather import eligible, rows
from bench.show.tables.model import Row
from bench.system import paths
from bench.system.errors import BenchError, unknown


def write(check: bool = False, root: Path | None = None, results: Path | None = None) -> list[str]:
    """Render the pages of benchmarks and sweeps, docs/results.md and README.md's blocks; return the files that change.

    check: change nothing, only list the files that would. root: the project. results: the folder of records and tables,
    default `paths.results()`, or the results folder of a given root; README.md and docs/results.md always show the
    records of the project itself.
    Raises BenchError if a record is in the wrong place, or a block names no benchmark.
    """
    results = results or (root / "results" if root else paths.results())
    root = root or paths.root()
    configs = {path.stem: path for path in sorted((root / "configs").glob("*.yaml"))}
    benchmarks = {name: load_benchmark(path) for name, path in configs.items()}
    numbers = published(root / "results" / "published.csv")
    records = {name: eligible(benchmark, results) for name, benchmark in benchmarks.items()}
    tables = {name: rows(benchmark, records[name], numbers) for name, benchmark in benchmarks.items()}

    files = {
        results / "tables" / f"{name}.md": full(benchmark, records[name], tables[name], numbers)
        for name, benchmark in benchmarks.items()
    }
    files |= sweeps.pages(results)
    readme, own = root / "README.md", root / "results"
    if own != results:
        tables = {name: rows(benchmark, eligible(benchmark, own), numbers) for name, benchmark in benchmarks.items()}
    if readme.exists():
        blocks = {name: short(benchmark, tables[name]) for name, benchmark in benchmarks.items()}
        blocks["papers"] = papers(benchmarks.values(), tables, numbers)
        files[readme] = fill(readme.read_text(encoding="utf-8"), blocks)
    if (root / "docs").is_dir():
        files[root / "docs" / "results.md"] = overview(benchmarks.values(), tables)

    drifted = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in [] if check else drifted:
        paths.write_text(path, files[path])
    return [Path(os.path.relpath(path, root)).as_posix() for path in drifted]


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


def full(benchmark: Benchmark, records: Sequence[Record], table: Sequence[Row], numbers: pd.DataFrame) -> str:
    """The page of a benchmark: metrics, size, seeds, records, then every action, and cost; a section per accounting.

    table: the rows of the records under accounting `shared`.
    """
    protocol = benchmark.protocol
    frames = " or ".join(str(one) for one in sorted({benchmark.frames(method) for method in benchmark.methods}))
    over_frames = protocol.averaging == "frames"
    scored = "valid test frame" if over_frames else "test frame"
    parts = [
        f"# {benchmark.title}",
        f"<!-- Rendered by `make tables` from results/ and configs/{benchmark.name}.yaml: edits are lost. -->",
        *crossing(protocol),
        f"Data set {protocol.tested_on.dataset}, 2D keypoints {protocol.tested_on.keypoints}, {frames} frames, "
        f"tested on {', '.join(protocol.test_subjects)}. Measured numbers count every {scored} once, the predicted "
        "root at zero; ± is the standard deviation over seeds. The best of a column is bold, if there is a choice."
        + (_OVER_FRAMES if over_frames else "")
        + (_INTERVALS if any(metric.ci for one in records for metric in one.metrics.values()) else ""),
        *_section(protocol, table),
    ]
    if others := [one for one in rows(benchmark, records, numbers, accounting="as-published") if one.records]:
        parts += ["## Accounting as published", _AS_PUBLISHED, *_section(protocol, others, ranked=False)]
    parts += _sources(numbers[numbers["benchmark"] == benchmark.name])
    return "\n\n".join(parts) + "\n"


_AS_PUBLISHED = (
    "Each row is counted by the rules of its method's own code, see the notes. They differ, so rows compare neither "
    "with each other nor with those above, only with their own published numbers; nothing is bold."
)

_OVER_FRAMES = (
    " They are means over these frames; the MPJPE over actions is the plain mean over the test sequences, which some "
    "papers report."
)


_INTERVALS = (
    " [a, b] is the 95 % interval over test sequences. Notes name the rows whose MPJPE does not differ from the best "
    "beyond chance. With a single seed, a difference or a tie is about these networks, not the methods ([what "
    "can be concluded](../../docs/explanation/statistics.md))."
)


def crossing(protocol: Protocol) -> list[str]:
    """The sentence that goes with every benchmark that tests on other data than it trains on; else nothing."""
    trained_on, tested_on = (
        f"{one.dataset} ({one.keypoints} keypoints)" for one in (protocol.trained_on, protocol.tested_on)
    )
    line = (
        f"Trained on {trained_on}, tested on {tested_on}: how well a method transfers from one to the other. Only "
        "joints at the same place in both are scored, and nothing is rescaled (docs/reference/protocols.md)."
    )
    return [line] if protocol.crosses else []


def short(benchmark: Benchmark, table: Sequence[Row]) -> str:
    """The block of a benchmark in README.md: headline metrics, size, records."""
    shown = markdown.render(short_table(table))
    more = f"All metrics, every action: [results/tables/{benchmark.name}.md](results/tables/{benchmark.name}.md)"
    return "\n\n".join([*crossing(benchmark.protocol), shown, more])


def papers(benchmarks: Iterable[Benchmark], tables: Mapping[str, Sequence[Row]], numbers: pd.DataFrame) -> str:
    """The block `papers` of README.md: published on Human3.6M with CPN keypoints, and what was measured here."""
    reported = [
        row
        for benchmark in benchmarks
        if (benchmark.protocol.tested_on.dataset, benchmark.protocol.tested_on.keypoints) == ("h36m", "cpn")
        for row in tables[benchmark.name]
        if row.published
    ]
    venues = dict(zip(numbers["method"], numbers["paper"], strict=True))
    return markdown.render(papers_table(reported, venues)) if reported else "No paper is quoted."


def overview(benchmarks: Iterable[Benchmark], tables: Mapping[str, Sequence[Row]]) -> str:
    """The page docs/results.md: the headline of every benchmark, those that were measured here first.

    It links to nothing outside docs/, because the site is built of docs/ alone.
    """
    parts: dict[bool, list[str]] = {True: ["## Measured"], False: ["## Published, and not measured here yet"]}
    for benchmark in benchmarks:
        name = benchmark.name
        found = tables[name]
        parts[any(row.records for row in found)] += [
            f"### {benchmark.title}",
            *crossing(benchmark.protocol),
            markdown.render(short_table(found), records=None),
            f"`make bench-{name}` measures it; every metric, action and joint: `results/tables/{name}.md`.",
        ]
    sections = [part for section in parts.values() if section[1:] for part in section]
    return "\n\n".join(["# Results", _GENERATED, _OVERVIEW, *sections]) + "\n"


_GENERATED = "<!-- Rendered by `make tables` from results/ and configs/: edits are lost. -->"

_OVERVIEW = (
    "Published and measured numbers stand side by side and are never mixed. Rows without a measurement say so. "
    "`s0` is the record of seed 0; the pages in `results/tables/` link to the records and show the 95 % intervals. The "
    "best of a column is bold, if there is a choice.\n\n"
    "Numbers on CMU motion capture and on synthetic people are not Human3.6M numbers. The models of those benchmarks "
    "are small and trained for a few epochs, so that two CPU cores suffice: they show that everything works, but rank "
    "neither methods nor papers, and differences of a few millimetres are not a finding."
)


def _section(protocol: Protocol, table: Sequence[Row], ranked: bool = True) -> list[str]:
    return [markdown.render(one, records="../records") for one in all_tables(protocol, table, ranked)]


def _sources(numbers: pd.DataFrame) -> list[str]:
    """Where the published columns come from: one line per source."""
    lines = []
    for source in dict.fromkeys(numbers["source"]):
        quoted = numbers[numbers["source"] == source]
        papers = dict.fromkeys(
            f"{label} ({paper})" for label, paper in zip(quoted["label"], quoted["paper"], strict=True)
        )
        lines.append(f"- {', '.join(papers)}: {source}")
    return ["## Sources of the published numbers", "\n".join(lines)] if lines else []
