"""How our time grows: series of measured cases, their exponents, and the figure of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.show.cost_figure import COLOURS, GRID, INK
from bench.system import paths

Points = list[tuple[int, float]]  # size and seconds, ascending


def series(cases: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Points]:
    """The points of every series among some cases, by axis (frames, windows, channels, videos) and method."""
    found: dict[tuple[str, str], Points] = {}
    for case in cases:
        if case["group"] == "growth":
            found.setdefault((case["axis"], case["series"]), []).append((case["at"], case["ours_seconds"]))
    return {key: sorted(points) for key, points in found.items()}


def exponent(points: Points) -> float:
    """k of seconds ~ size^k: the slope of a straight line through the logarithms, by least squares."""
    if len(points) < 2:
        return math.nan
    x, y = ([math.log(value) for value in values] for values in zip(*points, strict=True))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def draw(found: Mapping[tuple[str, str], Points], path: Path) -> None:
    """One panel for each axis, both scales logarithmic, a line for each method with its exponent. Writes an SVG."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    axes_names = list(dict.fromkeys(axis for axis, _ in found))
    methods = sorted({name for _, name in found})
    colours = dict(zip(methods, COLOURS, strict=False))
    rows = -(-len(axes_names) // 2)
    figure = Figure(figsize=(10, 3.4 * rows), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for panel, axis in zip(figure.subplots(rows, 2, squeeze=False).flat, axes_names, strict=False):
        sizes: set[int] = set()
        for (of, name), points in found.items():
            if of == axis:
                sizes |= {size for size, _ in points}
                label = f"{name}  {exponent(points):.2f}"
                panel.plot(
                    *zip(*points, strict=True), "o-", color=colours[name], linewidth=1.4, markersize=4, label=label
                )
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="seconds")
        panel.set_xticks(sorted(sizes))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(color=GRID, linewidth=0.7)
        panel.set_axisbelow(True)
        panel.tick_params(colors=INK, labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(
            title="exponent", fontsize=8, title_fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    for panel in figure.axes[len(axes_names) :]:
        panel.set_axis_off()
    style = {"svg.hashsalt": path.stem, "svg.fonttype": "none", "font.family": "sans-serif"}
    with matplotlib.rc_context(style), paths.whole_file(path) as unfinished:
        figure.savefig(unfinished, format="svg", metadata={"Date": None})  # the same bytes every time
