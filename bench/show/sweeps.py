"""The committed outcome of a sweep, results/sweeps/BENCHMARK/NAME.json, as text, page and figure.

Neither torch nor mlflow is needed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from bench.results import records
from bench.results.metrics import METRICS, Metric, in_view, metrics
from bench.results.records import portable_text
from bench.results.sweeps import COMBINED, COUNTS, KNOBS, Outcome, SweepPoint, folder, read
from bench.system import paths


def write(outcome: Outcome) -> Path:
    """Write an outcome under `results/sweeps/`, and its figure beside it; return the path.

    A file with the same points is left as it is, since it may be committed. Raises BenchError for NaN, for infinity
    and for text that looks like a path of this machine.
    """
    path = folder() / outcome.path
    text = portable_text(outcome, shown=str(outcome.path))
    if not path.is_file() or read(path).points != Outcome.model_validate_json(text).points:
        paths.write_text(path, text)
    draw(read(path), path.with_suffix(".svg"))
    return path


class Line(NamedTuple):
    """One method, and how its hypotheses were combined: its points by value, of every seed."""

    label: str
    method: str
    oracle: bool
    points: dict[int | float, list[SweepPoint]]

    def mean(self, value: float, metric: str) -> float | None:
        """Mean over seeds; None where there is no such point."""
        found = self._metrics(value, metric)
        return statistics.fmean(one.value for one in found) if found else None

    def interval(self, value: float, metric: str) -> tuple[float, float] | None:
        """The interval over test sequences, its ends averaged over seeds; None if a seed has none."""
        ends = [one.ci for one in self._metrics(value, metric) if one.ci]
        if not ends or len(ends) < len(self._metrics(value, metric)):
            return None
        return statistics.fmean(low for low, _ in ends), statistics.fmean(high for _, high in ends)

    def _metrics(self, value: float, metric: str) -> list[records.Metric]:
        return [one.metrics[metric] for one in self.points.get(value, ()) if metric in one.metrics]


def lines(outcome: Outcome) -> list[Line]:
    """The lines of an outcome, in the order of its points."""
    found: dict[tuple[str, str | None], dict[int | float, list[SweepPoint]]] = {}
    for point in outcome.points:
        found.setdefault((point.method, point.combined), {}).setdefault(point.value, []).append(point)
    made = []
    for (method, combined), points in found.items():
        how, oracle = COMBINED[combined] if combined else ("", False)
        made.append(Line(f"{method}, {how}" if how else method, method, oracle, points))
    return made


def values(outcome: Outcome) -> list[int | float]:
    """The values of the knob, ascending."""
    return sorted({point.value for point in outcome.points})


def terminal(outcome: Outcome) -> str:
    """The sweep as plain text: MPJPE of every line at every value, with its interval."""
    head = f"{outcome.title}\n{outcome.sweep}: MPJPE (mm) by {KNOBS[outcome.knob]}"
    return f"{head}\n\n{_table(outcome, METRICS['mpjpe'], 'simple')}\n\n{_note(outcome)}"


def pages(results: Path) -> dict[Path, str]:
    """The page of every benchmark that has sweeps, by its path, made from results/sweeps/ alone."""
    found: dict[str, list[Outcome]] = {}
    for path in sorted((results / "sweeps").glob("*/*.json")):
        outcome = read(path)
        found.setdefault(outcome.benchmark, []).append(outcome)
    return {results / "tables" / f"{name}-sweeps.md": page(outcomes) for name, outcomes in found.items()}


def page(outcomes: Sequence[Outcome]) -> str:
    """The page of a benchmark's sweeps."""
    parts = [
        f"# {outcomes[0].title}: sweeps",
        "<!-- Rendered by `make tables` from results/sweeps: edits are lost. -->",
        "One setting changed, all else as in the benchmark. In brackets the 95 % interval over test sequences.",
    ]
    for one in outcomes:
        where = f"../sweeps/{one.benchmark}/{one.sweep}"
        parts += [f"## {one.sweep}", f"By {KNOBS[one.knob]}. {_note(one)} [All numbers]({where}.json)"]
        parts.append(f"![MPJPE by {KNOBS[one.knob]}]({where}.svg)")
        for name in in_view("sweeps"):
            if any(name in point.metrics for point in one.points):
                metric = metrics()[name]
                parts += [f"{metric.title} ({metric.unit}):", _table(one, metric, "pipe")]
    return "\n\n".join(parts) + "\n"


def _table(outcome: Outcome, metric: Metric, layout: str) -> str:
    columns = {"Method": [line.label for line in lines(outcome)]}
    for value in values(outcome):
        columns[f"{value:g}"] = [_cell(line, value, metric) for line in lines(outcome)]
    alignment = ["left", *["right"] * (len(columns) - 1)]
    return tabulate(columns, headers="keys", tablefmt=layout, disable_numparse=True, colalign=alignment)


def _cell(line: Line, value: float, metric: Metric) -> str:
    mean, ends, digits = line.mean(value, metric.name), line.interval(value, metric.name), metric.digits
    if mean is None:
        return "—"
    return f"{mean:.{digits}f}" + (f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else "")


def _note(outcome: Outcome) -> str:
    seeds = sorted({point.seed for point in outcome.points})
    text = f"Seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    text += ", the mean over them." if len(seeds) > 1 else "."
    if any(line.oracle for line in lines(outcome)):
        text += " A row marked oracle uses the ground truth to choose: it is not a prediction."
    return text


def draw(outcome: Outcome, path: Path) -> None:
    """MPJPE of every line over the knob, with a band for its interval; oracles dashed. The suffix chooses the format.

    The same outcome gives the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": outcome.sweep, "svg.fonttype": "none"}), paths.whole_file(path) as file:
        figure = Figure(figsize=(6.4, 4.2), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for number, line in enumerate(lines(outcome)):
            _draw_line(axes, line, f"C{number % 10}", "oPsD^v"[number // 10 % 6])
        if outcome.knob in COUNTS:
            axes.set_xscale("log")
            axes.minorticks_off()
            axes.set_xticks(values(outcome), [f"{value:g}" for value in values(outcome)])
        axes.set_xlabel(KNOBS[outcome.knob])
        axes.set_ylabel("MPJPE (mm)")
        axes.set_title(outcome.title, fontsize=10)
        axes.grid(color="#e3e7ec", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False)
        kind = path.suffix.lstrip(".") or "png"
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else {}, dpi=120)


def _draw_line(axes: Any, line: Line, colour: str, marker: str) -> None:
    style = "--" if line.oracle else "-"
    at = sorted(line.points)
    means = [line.mean(value, "mpjpe") for value in at]
    axes.plot(at, means, color=colour, linestyle=style, marker=marker, markersize=4, label=line.label)
    banded = [(value, ends) for value in at if (ends := line.interval(value, "mpjpe"))]
    axes.fill_between(
        [value for value, _ in banded],
        [low for _, (low, _) in banded],
        [high for _, (_, high) in banded],
        color=colour,
        alpha=0.12,
        linewidth=0,
    )
