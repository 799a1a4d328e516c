"""Two methods of a benchmark side by side, from their records alone: difference, interval, p-value, verdict.

With a single seed each, the verdict is about these networks. It is about methods only if training was repeated, and
never about two seeds of the same method (docs/explanation/statistics.md has the reasons).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from bench.config.schema import Benchmark
from bench.results import records
from bench.results import statistics as stats
from bench.results.metrics import Metric, metrics
from bench.results.records import Record
from bench.show.tables import NONE, departures
from bench.system import paths
from bench.system.errors import BenchError, unknown


@dataclass(frozen=True)
class Side:
    """One of the two: its records, one per seed."""

    name: str
    records: tuple[Record, ...]

    @property
    def seeds(self) -> str:
        """The seeds as text."""
        return ", ".join(str(one.seed) for one in self.records)

    @property
    def trained_here(self) -> bool:
        """Whether other seeds would be other networks."""
        first = self.records[0]
        return first.weights is None and not first.scored_from

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to train, so that a single seed suffices."""
        return self.records[0].training.get("kept") == stats.NOTHING_TRAINED

    @property
    def repeated(self) -> bool:
        """Whether the spread over seeds is known."""
        return self.fixed or (self.trained_here and len(self.records) > 1)

    @property
    def networks(self) -> str:
        """The networks that were scored, in words."""
        method = self.records[0].method
        if self.fixed:
            return method
        if not self.trained_here:
            return f"{method} (not trained here)"
        return f"{method} (seed{'s' if len(self.records) > 1 else ''} {self.seeds})"


@dataclass(frozen=True)
class Comparison:
    """Two sides by one metric. actions: action -> sequences, values of both, their difference and its interval."""

    benchmark: Benchmark
    metric: Metric
    first: Side
    second: Side
    found: stats.Comparison
    actions: Mapping[str, tuple[int, float, float, stats.Interval | None]]

    @property
    def text(self) -> str:
        """The whole comparison as plain text."""
        metric, networks = self.metric, self.found.networks
        better = "higher" if metric.higher_is_better else "lower"
        subjects = ", ".join(self.benchmark.protocol.test_subjects)
        drawn = "the sequences of each action" if networks.within_actions else "sequences"
        lines = [
            f"{self.benchmark.name}: {metric.title} in {metric.unit}, {better} is better; {networks.blocks} test "
            f"sequences of {subjects} with all their views, {self.first.records[0].frames:,} frames",
            "\n".join([self._sides(), *self._beside_published()]),
            f"A - B over {drawn}: {self._difference(networks.interval)}, p = {networks.p_value:.2g}",
        ]
        if self.found.methods:
            lines[-1] += f"\nA - B over {drawn} and seeds: {self._difference(self.found.methods)}"
        return "\n\n".join([*lines, self._per_action(), self.verdict])

    @property
    def verdict(self) -> str:
        """What may be concluded, in words."""
        networks = self.found.networks
        p_value = f"p = {networks.p_value:.2g}"
        if self.same_method:
            return (
                f"Verdict: no difference of methods. Both are {self.first.records[0].method}; {p_value} over sequences "
                "says how far two of its networks lie apart, which is the effect of the seed."
            )
        if self.found.methods is None:
            return f"Verdict, on these networks: {self._ranked(self.found.significant, p_value)} {self._not_repeated()}"
        if self.found.significant:
            return (
                f"Verdict, on the methods: {self._ranked(True, p_value)} "
                "Neither the choice of sequences nor that of seeds explains it."
            )
        reason = "the spread over seeds" if networks.significant else "chance over sequences"
        return (
            f"Verdict, on the methods: no difference is shown ({p_value} over sequences); {reason} explains it. That "
            f"is no proof that they are equal: anything within {self._interval(self.found.methods)} "
            f"{self.metric.unit} would look like this."
        )

    @property
    def same_method(self) -> bool:
        """Whether the two differ in nothing but their seeds."""
        first, second = self.first.records[0], self.second.records[0]
        return (first.method, first.weights, first.scored_from) == (second.method, second.weights, second.scored_from)

    def _ranked(self, significant: bool, p_value: str) -> str:
        """Which of the two is better on sequences like those, or that no difference is shown."""
        networks, metric = self.found.networks, self.metric
        if not significant:
            return f"no difference between {self.first.networks} and {self.second.networks} is shown ({p_value})."
        better, worse = self.first.networks, self.second.networks
        if (networks.value > 0) != metric.higher_is_better:
            better, worse = worse, better
        found = f"{abs(networks.value):.{metric.digits}f} {metric.unit}"
        return f"{better} is better than {worse} by {found} on sequences like these ({p_value})."

    def _not_repeated(self) -> str:
        """Why the verdict is about networks, and what is missing for one about methods."""
        once = [side for side in (self.first, self.second) if not side.repeated]
        said = (
            f"This says nothing about methods: of {' and '.join(one.name for one in once)} there is a single network, "
            "and how far others lie from it is not known."
        )
        if here := [one.records[0].method for one in once if one.trained_here]:
            said += f" More seeds tell:\n  bench run {self.benchmark.name} --methods {','.join(here)} --seeds 3"
        return said

    def _sides(self) -> str:
        """Headline, spread over seeds and interval of both."""
        metric = self.metric
        rows = []
        for letter, side in (("A", self.first), ("B", self.second)):
            values = [one.metrics[metric.name].value for one in side.records]
            found = stats.averaged([stats.recorded(one, metric.name) for one in side.records])
            shown = stats.headline_interval(found)
            spread = f" ± {statistics.stdev(values):.{metric.digits}f}" if len(values) > 1 else ""
            rows.append(
                {
                    "": letter,
                    "method": side.name,
                    f"{metric.title} ({metric.unit})": f"{statistics.fmean(values):.{metric.digits}f}{spread}",
                    "95 % interval": self._interval(shown),
                    "seeds": side.seeds,
                }
            )
        return tabulate(
            rows, headers="keys", disable_numparse=True, colalign=("left", "left", "right", "right", "left")
        )

    def _beside_published(self) -> list[str]:
        """A line for each run of this checkout whose published record has other numbers."""
        return [
            f"{one.method}, seed {one.seed}: {both}"
            for one in (*self.first.records, *self.second.records)
            if (both := records.beside_published(one))
        ]

    def _per_action(self) -> str:
        digits = self.metric.digits
        rows = [
            {
                "action": action,
                "sequences": str(count),
                "A": f"{first:.{digits}f}",
                "B": f"{second:.{digits}f}",
                "A - B": f"{first - second:+.{digits}f}",
                "95 % interval": self._interval(found, sign="+"),
            }
            for action, (count, first, second, found) in self.actions.items()
        ]
        note = "Each action's interval stands alone: of twenty, one leaves out zero by chance."
        table = tabulate(rows, headers="keys", disable_numparse=True, colalign=("left", *["right"] * 5))
        return f"{table}\n{note}" if any(found for *_, found in self.actions.values()) else table

    def _difference(self, found: stats.Interval) -> str:
        metric = self.metric
        return f"{found.value:+.{metric.digits}f} {metric.unit}, 95 % interval {self._interval(found, sign='+')}"

    def _interval(self, found: stats.Interval | None, sign: str = "") -> str:
        digits = self.metric.digits
        return f"[{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]" if found else NONE


def compare(benchmark: Benchmark, first: str, second: str, metric: str = "mpjpe") -> Comparison:
    """Compare two methods of a benchmark, or what was scored on it, by their records.

    first, second: a name for all its seeds, `NAME:SEED` for one, `NAME:weights` for published weights where the method
    was trained as well. Raises BenchError if a side has no record or one without blocks, or if both sides are the same.
    """
    if benchmark.protocol.accounting != "shared":
        raise BenchError(
            f"{benchmark.name} counts as each method's own code does, so its rows do not compare; compare the same "
            "predictions under accounting: shared"
        )
    known = _known(benchmark)
    ours, theirs = (_side(benchmark, known, text) for text in (first, second))
    if shared := {one.run_key for one in ours.records} & {one.run_key for one in theirs.records}:
        seeds = sorted(one.seed for one in ours.records if one.run_key in shared)
        raise BenchError(f"{first} and {second} are both seed {', '.join(map(str, seeds))} of the same method")
    for one in (*ours.records, *theirs.records):
        _check_blocks(benchmark, one, metric)
    try:
        found = stats.compare_records(ours.records, theirs.records, metric)
    except ValueError as error:
        raise BenchError(f"{first} and {second} on {benchmark.name}: {error}") from None
    return Comparison(benchmark, metrics()[metric], ours, theirs, found, _actions(ours, theirs, metric))


def _known(benchmark: Benchmark) -> list[Record]:
    """Every record of a benchmark, and those that only the folders of finished runs have."""
    finished = sorted((paths.cache() / "runs" / benchmark.name).glob("*/record.json"))
    by_key: dict[str, Record] = {}
    for one in [*map(records.read, finished), *records.viewed(benchmark.name)]:
        if one.accounting == "shared" and (one.run_key not in by_key or one.blocks):
            by_key[one.run_key] = one
    return sorted(by_key.values(), key=lambda one: (one.seed, one.provenance.finished_at))


def _side(benchmark: Benchmark, known: Sequence[Record], text: str) -> Side:
    """The side that the user named."""
    name, _, which = text.partition(":")
    if which and which != "weights" and not which.isdecimal():
        raise BenchError(f"{text!r} is not of the form NAME, NAME:SEED or NAME:weights")
    mine = [one for one in known if one.method == name]
    command = f"bench run {benchmark.name} --methods {name}"
    if not mine:
        if name in benchmark.methods:
            raise BenchError(f"{name} has no record on {benchmark.name}; this makes one: {command}")
        raise unknown(f"method or submission on {benchmark.name}", name, {one.method for one in known})
    # First keep the records that fit, then take the newest: a trial with --set may be newer, but does not fit.
    fitting = sorted(records.newest(one for one in mine if not departures(one, benchmark)), key=lambda one: one.seed)
    if not fitting:
        reasons = "; ".join(departures(mine[-1], benchmark))
        raise BenchError(
            f"{name} was not run as {benchmark.name} states: {reasons}. Say --set KEY=VALUE as the run was given"
        )
    trained = [one for one in fitting if one.weights is None]
    chosen = trained if trained and which != "weights" else [one for one in fitting if one.weights is not None]
    if which.isdecimal():
        chosen = [one for one in chosen if one.seed == int(which)]
        command += f" --seeds {int(which) + 1}"
    if not chosen:
        seeds = ", ".join(str(one.seed) for one in trained or fitting)
        raise BenchError(f"{text} has no record on {benchmark.name}; there is seed {seeds}. This makes one: {command}")
    if len({one.seed for one in chosen}) < len(chosen):
        made = "; ".join(f"results/records/{one.path.as_posix()}" for one in chosen)
        raise BenchError(f"{text} has several records of a seed; remove those that are not meant: {made}")
    return Side(text, tuple(chosen))


def _check_blocks(benchmark: Benchmark, record: Record, metric: str) -> None:
    """Raise BenchError if a record does not hold a score per test sequence."""
    if record.lacks_blocks:
        again = f"bench run {benchmark.name} --methods {record.method} --seeds {record.seed + 1}"
        if record.scored_from:
            again = f"bench score {benchmark.name} --name {record.method}, with its file {record.training.get('file')}"
        raise BenchError(
            f"results/records/{record.path.as_posix()} was written before records held a score per test sequence; "
            f"this makes it anew: {again}"
        )
    taken = record.blocks[0].means
    if metric not in taken:
        raise BenchError(f"{benchmark.name} has no {metric}; its records compare by {', '.join(taken)}")
    if metric not in metrics():
        raise BenchError(f"{metric} is the metric of a package that is not installed here; install it to compare by it")


def _actions(first: Side, second: Side, metric: str) -> dict[str, tuple[int, float, float, stats.Interval | None]]:
    """Each action alone; Student's interval, as an action has few sequences."""
    ours, theirs = (stats.averaged([stats.recorded(one, metric) for one in side.records]) for side in (first, second))
    found = {}
    for action, part in ours.groupby(level="action", sort=True):
        weights = (part["weight"] / part["weight"].sum()).to_numpy()
        first_mean, second_mean = part["mean"].to_numpy(), theirs.loc[part.index, "mean"].to_numpy()
        apart = stats.student(first_mean - second_mean, weights)
        found[str(action)] = (len(part), float(first_mean @ weights), float(second_mean @ weights), apart)
    return found
