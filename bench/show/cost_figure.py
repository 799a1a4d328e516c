"""A figure of accuracy against cost: MPJPE against multiply-adds, one point per method.

matplotlib and torch are imported by the functions: `import bench.show.cost_figure` costs nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.config.schema import Benchmark
from bench.geometry.skeleton import H36M_17
from bench.results.records import published
from bench.show.tables.content import short_count
from bench.show.tables.gather import rows, shown
from bench.show.tables.model import Row, deviation
from bench.system import paths
from bench.system.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")
COLOURS = ("#2b7bba", "#e4572e", "#4c9f50", "#8a5fbf", "#c79a1b", "#17a2a8", "#c2478d", "#6b7280")
INK, GRID = "#333b47", "#e3e7ec"


@dataclass(frozen=True)
class CostPoint:
    """One method: multiply-adds per frame (None: unknown), MPJPE in mm with its interval if known, parameters."""

    label: str
    kind: Literal["published", "measured"]
    macs: float | None
    mpjpe: float
    parameters: float
    interval: tuple[float, float] | None = None


def cost_figure(path: Path, benchmark: Benchmark) -> None:
    """Draw a benchmark: measured points filled, published ones outlined, area by parameters, cost on a log scale.

    A bar is the confidence interval of a record, or ± the standard deviation over seeds. A method without
    multiply-adds, or of unknown cost, cannot be on a log scale: it is named below the title. The suffix of the file
    decides the format. Raises BenchError for another suffix, and for a benchmark with no number to draw.
    """
    if path.suffix.lstrip(".") not in FORMATS:
        raise BenchError(f"a figure is written as {', '.join(FORMATS)}, not as {path.suffix or 'no suffix'}")
    found = points(benchmark, rows(benchmark, shown(benchmark), published()))
    if not any(one.macs for one in found):
        raise BenchError(
            f"no method of {benchmark.name} has both an MPJPE and a cost yet; run: bench run {benchmark.name}"
        )
    import matplotlib

    form = path.suffix.lstrip(".")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[form]
    figure = draw(benchmark.title, found)
    with matplotlib.rc_context({"svg.hashsalt": benchmark.name}), paths.whole_file(path) as unfinished:
        figure.savefig(unfinished, format=form, metadata=undated)  # the same bytes every time


def points(benchmark: Benchmark, table: Sequence[Row]) -> list[CostPoint]:
    """Every MPJPE of a table that has a cost: of its record, else of the network that the benchmark states for it."""
    found = []
    several = len({row.frames for row in table}) > 1
    for row in table:
        label = f"{row.label}, {row.frames} frames" if several and row.frames else row.label
        seeds = row.seeds("mpjpe")
        if not (seeds or "mpjpe" in row.published) or (size := _size(benchmark, row)) is None:
            continue
        macs, parameters = size
        if "mpjpe" in row.published:
            found.append(CostPoint(label, "published", macs, row.published["mpjpe"], parameters))
        if seeds:
            mean = statistics.fmean(seeds.values())
            found.append(CostPoint(label, "measured", macs, mean, parameters, _interval(row, mean)))
    return found


def _size(benchmark: Benchmark, row: Row) -> tuple[float | None, float] | None:
    """Multiply-adds per frame, None where they cannot be counted, and parameters."""
    for one in row.records:
        if one.macs_per_frame is not None and one.parameters is not None:
            return one.macs_per_frame, one.parameters
    if row.scored_from or row.method not in benchmark.methods or row.frames != benchmark.frames(row.method):
        return None
    from bench.method.cost import macs_per_frame
    from bench.method.registry import build

    model = benchmark.methods[row.method].model
    joints = len(H36M_17)  # as every joint set of the suite
    method = build(benchmark.registered(row.method), frames=row.frames, joints=joints, **model)
    return macs_per_frame(method, joints), method.parameter_count


def _interval(row: Row, mean: float) -> tuple[float, float] | None:
    if len(row.records) > 1:
        spread = deviation(row.seeds("mpjpe"))
        return None if math.isnan(spread) else (mean - spread, mean + spread)
    return row.records[0].metrics["mpjpe"].ci


# Drawing


def draw(title: str, found: Sequence[CostPoint]) -> Figure:
    """The picture of some points, of which one at least multiplies something."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    drawn = [one for one in found if one.macs]
    most = max(1.0, *(one.parameters for one in drawn))
    areas = {one: max(20.0, 260.0 * one.parameters / most) for one in drawn}  # square points
    colours = dict(zip(dict.fromkeys(one.label for one in found), COLOURS * len(found), strict=False))
    figure = Figure(figsize=(7, 4.6), dpi=144, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for one in drawn:
        _marker(axes, one, colours[one.label], areas[one])
    low, high = (pick(one.macs for one in drawn if one.macs) for pick in (min, max))
    axes.set(
        xscale="log", xlim=(low / 2.2, high * 3), xlabel="multiply-adds per frame", ylabel="MPJPE (mm), lower is better"
    )
    axes.margins(y=0.16)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{short_count(value)} ".replace(".00 ", " ").replace(".0 ", " ").strip())
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#9aa3af")
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=22)
    axes.annotate(_below_title(found), (0, 1), (0, 7), "axes fraction", "offset points", fontsize=8, color="#6b7280")
    figure.draw_without_rendering()  # fixes the axes, so that labels can be placed
    _label(axes, areas, colours)
    return figure


def _marker(axes: Any, one: CostPoint, colour: str, area: float) -> None:
    unfilled = one.kind == "published"
    if one.interval:
        axes.plot([one.macs] * 2, one.interval, color=colour, linewidth=1.2, zorder=2)
    face, edge = ("white", colour) if unfilled else (colour, "white")
    axes.scatter(
        one.macs,
        one.mpjpe,
        s=area,
        facecolor=face,
        edgecolor=edge,
        linewidth=1.6 if unfilled else 0.8,
        alpha=0.9,
        zorder=3,
    )


def _below_title(found: Sequence[CostPoint]) -> str:
    """What a reader of the picture needs to know, in a line."""
    parameters = [one.parameters for one in found if one.macs]
    kinds = {one.kind for one in found}
    parts = ["filled: measured, outlined: published"] if len(kinds) > 1 else [f"all {kinds.pop()}"]
    few, many = short_count(min(parameters)), short_count(max(parameters))
    parts.append(f"area: parameters, {few} to {many}" if few != many else f"{few} parameters each")
    left_out = [
        (one, "of unknown cost" if one.macs is None else "which multiplies nothing") for one in found if not one.macs
    ]
    parts += [f"{one.label}, {why}: {one.mpjpe:.1f} mm" for one, why in left_out]
    return "; ".join(parts)


def _label(axes: Any, areas: Mapping[CostPoint, float], colours: Mapping[str, str]) -> None:
    """A name beside each point: of the places around it, the first that covers no other name and no point."""
    from matplotlib.transforms import Bbox

    renderer = axes.figure.canvas.get_renderer()
    scale = axes.figure.dpi / 72
    taken = []
    for one, area in areas.items():
        x, y = axes.transData.transform((one.macs, one.mpjpe))
        half = scale * math.sqrt(area) / 2
        taken.append(Bbox.from_extents(x - half, y - half, x + half, y + half))
    for one, box in zip(areas, list(taken), strict=True):
        reach = box.width / 2 / scale + 4  # points
        style = {"fontsize": 8.5, "color": colours[one.label], "textcoords": "offset points"}
        for x, y, across, along in _around(reach):
            text = axes.annotate(one.label, (one.macs, one.mpjpe), (x, y), ha=across, va=along, **style)
            place = text.get_window_extent(renderer)
            inside = axes.bbox.x0 <= place.x0 and place.x1 <= axes.bbox.x1
            if inside and not any(place.overlaps(other) for other in taken):
                break
            text.remove()
        else:  # no free place: draw it over another name
            text = axes.annotate(one.label, (one.macs, one.mpjpe), (reach, 0), ha="left", va="center", **style)
            place = text.get_window_extent(renderer)
        taken.append(place)


def _around(reach: float) -> list[tuple[float, float, str, str]]:
    """Places of a name about a point, the best first: offset in points, and which side of the name is there."""
    places = []
    for far in (0, 8, 18, 30):
        out = reach + far
        places += [
            (out, 0, "left", "center"),
            (-out, 0, "right", "center"),
            (0, out, "center", "bottom"),
            (0, -out, "center", "top"),
            *(
                (x * out * 0.8, y * out * 0.8, "left" if x > 0 else "right", "bottom" if y > 0 else "top")
                for x in (1, -1)
                for y in (1, -1)
            ),
        ]
    return places
