"""The metrics: what each is called, how it is shown, and which function computes it.

A metric is one entry of `METRICS`; scores, records, MLflow, tables, comparisons, sweeps and the report follow from it.
An installed package adds its own by the entry-point group `bench.metrics` (docs/how-to/adding-a-metric.md). The
functions of the suite are named, not imported, so that tables need no torch.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, get_args

from bench.system.errors import BenchError

if TYPE_CHECKING:
    from bench.evaluation.counting import ScoredPoses

GROUP = "bench.metrics"

Better = Literal["lower", "higher"]
Place = Literal["always", "where measured", "further", "never"]
View = Literal["groups", "sweeps", "report"]
Function = Callable[["ScoredPoses"], Any]


@dataclass(frozen=True)
class Metric:
    """One number per scored frame, and how its means are shown.

    name: in records, MLflow and on the command line: lower-case letters, digits and underscores.
    title, unit, digits: in tables and in the report. better: lower or higher values.
    function: from `ScoredPoses` to (frames,) values in that unit, NaN where a frame has none; None where the metric is
        not defined for the data. As "module:function" it is imported when it is first needed.
    column: whether the table of a benchmark always has it, has it where it was measured or published, leaves it to the
        table of further metrics, or never shows it (then only records and MLflow have it).
    views: where else it is shown: in the tables by subject and the like (`groups`), on the pages of sweeps, in the
        report's leaderboard before a reader asks for it.
    package: the package that declares it; set by the suite, "" for its own.

    Raises ValueError for a name, a number of digits or a choice that is not valid.
    """

    name: str
    title: str
    unit: str
    function: Function | str
    digits: int = 1
    better: Better = "lower"
    column: Place = "further"
    views: tuple[View, ...] = get_args(View)
    package: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name == "frames":
            raise ValueError(f"name must be lower-case letters, digits and underscores (not 'frames'): {self.name!r}")
        for field in ("title", "unit"):
            if not isinstance(text := getattr(self, field), str) or (field == "title" and not text) or "\n" in text:
                raise ValueError(f"{field} must be a line of text: {text!r}")
        if not isinstance(self.digits, int) or not 0 <= self.digits <= 6:
            raise ValueError(f"digits must be 0 to 6: {self.digits!r}")
        for field, choices in (("better", Better), ("column", Place)):
            if getattr(self, field) not in get_args(choices):
                raise ValueError(f"{field} must be one of {', '.join(get_args(choices))}: {getattr(self, field)!r}")
        if isinstance(self.views, str) or set(self.views) - set(get_args(View)):
            raise ValueError(f"views must be some of {', '.join(get_args(View))}: {self.views!r}")
        if not callable(self.function) and ":" not in str(self.function):
            raise ValueError(f"function must be callable, or text like 'module:function': {self.function!r}")

    @property
    def higher_is_better(self) -> bool:
        """Whether the best method has the highest value."""
        return self.better == "higher"

    def load(self) -> Function:
        """The function itself. Raises ImportError or AttributeError if a named function does not exist."""
        if callable(self.function):
            return self.function
        module, _, name = self.function.partition(":")
        found: Function = getattr(importlib.import_module(module), name)
        return found


_OURS = "bench.evaluation.per_frame:"

# In the order of their columns.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mpjpe", "MPJPE", "mm", _OURS + "mpjpe", column="always"),
        Metric("p_mpjpe", "P-MPJPE", "mm", _OURS + "p_mpjpe", column="always"),
        Metric("n_mpjpe", "N-MPJPE", "mm", _OURS + "n_mpjpe", column="always", views=()),
        Metric("mpjve", "MPJVE", "mm/frame", _OURS + "mpjve", 2, column="always", views=("sweeps", "report")),
        Metric("mpjpe_raw_root", "MPJPE, root as predicted", "mm", _OURS + "mpjpe_raw_root", column="never", views=()),
        Metric("pck", "PCK", "%", _OURS + "pck", better="higher", column="where measured"),
        Metric("auc", "AUC", "%", _OURS + "auc", better="higher", column="where measured"),
        Metric("pck150", "PCK@150 mm", "%", _OURS + "pck150", better="higher", views=("sweeps",)),
        Metric("accel", "Acceleration error", "mm/frame²", _OURS + "accel", 2, views=("sweeps",)),
    )
}

# The means besides the headline: suffix of the metric's name in a record, and of its title in a table.
OTHER_MEANS = {"_frames": "over frames", "_actions": "over actions", "_w2929": "by 2,929 weights"}

# The mean over frames; and the mean over actions, where the headline is over frames.
_COLUMNS_OF_OTHER_MEANS = ("mpjpe_frames", "mpjpe_actions")


def metrics() -> dict[str, Metric]:
    """Every metric by name: the suite's, then those of installed packages, sorted by name.

    Raises BenchError, naming the package, for an entry point that does not lead to a `Metric` of its name, and for a
    name that is taken.
    """
    return {**METRICS, **_of_packages()}


def described(name: str) -> Metric | None:
    """How a number of a record is shown: `mpjpe`, or another mean like `mpjpe_frames`; None if it is not known."""
    known = metrics()
    if name in known:
        return known[name]
    for suffix, words in OTHER_MEANS.items():
        if name.endswith(suffix) and (metric := known.get(name.removesuffix(suffix))):
            return replace(metric, name=name, title=f"{metric.title} {words}", views=())
    return None


def columns() -> list[str]:
    """The numbers of a record that the table of a benchmark may show, in its order."""
    placed = {place: [one.name for one in metrics().values() if one.column == place] for place in get_args(Place)}
    return [*placed["always"], *_COLUMNS_OF_OTHER_MEANS, *placed["where measured"]]


def further() -> list[str]:
    """The metrics of the table of further metrics."""
    return [one.name for one in metrics().values() if one.column == "further"]


def in_view(view: View) -> list[str]:
    """The metrics that are also shown there."""
    return [one.name for one in metrics().values() if view in one.views]


def check_functions() -> None:
    """Load the function of every metric of an installed package, before training.

    Raises BenchError for one that cannot be loaded, and as `metrics`.
    """
    for metric in metrics().values():
        if metric.package:
            try:
                metric.load()
            except Exception as error:  # a foreign module may raise anything
                raise _broken(metric.name, metric.package, f"{type(error).__name__}: {error}") from error


@functools.cache  # what is installed does not change while a process runs
def _of_packages() -> dict[str, Metric]:
    points = list({(point.name, point.value): point for point in entry_points(group=GROUP)}.values())
    found: dict[str, Metric] = {}
    for point in sorted(points, key=lambda one: one.name):
        metric = _load(point)
        if metric.name in METRICS:
            raise _broken(point.name, _package(point), "the suite has a metric of that name")
        if metric.name in found:
            raise _broken(point.name, _package(point), f"{found[metric.name].package} has a metric of that name too")
        found[metric.name] = metric
    return found


def _load(point: EntryPoint) -> Metric:
    """The metric that an entry point leads to."""
    package = _package(point)
    try:
        loaded: Any = point.load()
    except Exception as error:  # a foreign module may raise anything
        raise _broken(point.name, package, f"{type(error).__name__}: {error}") from error
    if not isinstance(loaded, Metric):
        raise _broken(point.name, package, f"{point.value} is not a bench.Metric, found {loaded!r}")
    if loaded.name != point.name:
        raise _broken(point.name, package, f"{point.value} is called {loaded.name!r}; the entry point must be, too")
    if suffix := next((suffix for suffix in OTHER_MEANS if loaded.name.endswith(suffix)), None):
        raise _broken(point.name, package, f"a name must not end in {suffix}, as those of other means do")
    return replace(loaded, package=package)


def _broken(name: str, package: str, reason: str) -> BenchError:
    return BenchError(f"metric {name!r} of the package {package}: {reason}. Repair or uninstall {package}")


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"
