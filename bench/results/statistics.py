"""How sure a number is: intervals and paired tests over sequences, spread over seeds.

Frames of a video are not independent, nor are four cameras that film the same motion. So the unit that is drawn is the
*block*: one sequence of one subject with all its views. Each block has the mean error of its frames and the weight that
it has in the headline; the headline is the weighted mean over blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.schema import Averaging

if TYPE_CHECKING:
    from bench.results.records import Record

Floats = NDArray[np.floating[Any]]

LEVEL = 0.95
DRAWS = 9999
BLOCK = ["subject", "action", "sequence"]  # what names a block
NOTHING_TRAINED = "none to train"  # what records say of a method that no seed changes
EXACT = 13  # up to this many blocks all sign flips are tried


@dataclass(frozen=True)
class Interval:
    """A value and the interval that holds it at the given level."""

    value: float
    low: float
    high: float
    level: float = LEVEL


@dataclass(frozen=True)
class Difference:
    """How far the first of two methods is above the second on the same frames.

    p_value: of the sign-flip test over blocks. blocks: how many there were.
    """

    interval: Interval
    p_value: float
    blocks: int

    @property
    def value(self) -> float:
        """First minus second, in the unit of the metric."""
        return self.interval.value

    @property
    def significant(self) -> bool:
        """Whether chance over test sequences alone would give so large a difference less often than the level says."""
        return self.p_value < 1 - self.interval.level


def blocks(per_frame: pd.DataFrame, metric: str = "mpjpe", averaging: Averaging = "actions") -> pd.DataFrame:
    """The blocks of a test set: mean and weight, indexed by (subject, action, sequence).

    per_frame: as `bench.evaluation.Scores.per_frame`; frames without the metric do not count. Weights sum to 1, and
    the weighted mean is the headline: the plain mean over actions, or the mean over all frames.
    """
    by_block = per_frame.dropna(subset=metric).groupby(BLOCK, sort=True)[metric]
    return _weighted(pd.DataFrame({"mean": by_block.mean(), "frames": by_block.size()}), averaging)


def recorded(record: Record, metric: str = "mpjpe") -> pd.DataFrame:
    """The same from what a record keeps; without rows where it has no blocks, or none with this metric."""
    rows = [
        (one.subject, one.action, one.sequence, one.means[metric], one.count(metric))
        for one in record.blocks
        if metric in one.means
    ]
    found = pd.DataFrame(rows, columns=[*BLOCK, "mean", "frames"]).set_index(BLOCK).sort_index()
    return _weighted(found, record.protocol.get("averaging", "actions"))


def averaged(seeds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean over seeds, block by block. Raises ValueError if they were not scored on the same frames."""
    for other in seeds[1:]:
        _check_same(seeds[0], other)
    return seeds[0].assign(mean=np.mean([one["mean"].to_numpy() for one in seeds], axis=0))


def _weighted(found: pd.DataFrame, averaging: Averaging) -> pd.DataFrame:
    """Means with the weights that they have in the headline. found: `mean` and `frames` of each block."""
    if averaging == "frames":
        found["weight"] = found["frames"] / found["frames"].sum()
    else:
        by_action = found.groupby(level="action")["frames"]
        found["weight"] = found["frames"] / by_action.transform("sum") / by_action.ngroups
    return pd.DataFrame(found[["mean", "weight"]])


def interval(
    means: Any, weights: Any = None, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Bootstrap interval of a weighted mean over blocks; None where a single block says nothing about its spread.

    means: (blocks,), weights: (blocks,), default equal. Blocks are drawn with replacement, each with its weight. The
    percentiles are taken a little farther out than the level says, as the t distribution asks for: plain ones are too
    narrow where blocks are few (Hesterberg, The American Statistician 2015, expanded percentiles).
    """
    means, weights = _checked(means, weights)
    count = len(means)
    if count < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, count, (draws, count))
    values = (means * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    low, high = np.quantile(values, _expanded(level, count))
    return Interval(float(means @ weights), float(low), float(high), level)


def _expanded(level: float, count: int) -> tuple[float, float]:
    """The quantiles to take of a bootstrap distribution of `count` blocks."""
    from scipy import stats

    tail = float(stats.norm.cdf(np.sqrt(count / (count - 1)) * stats.t.ppf((1 - level) / 2, count - 1)))
    return tail, 1 - tail


def difference(
    first: pd.DataFrame, second: pd.DataFrame, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Compare two methods block by block. first, second: as `blocks`, of the same test set.

    Raises ValueError if their blocks or weights are not the same, or if there are fewer than two blocks.
    """
    _check_same(first, second)
    apart = (first["mean"] - second["mean"]).to_numpy()
    weights = first["weight"].to_numpy()
    found = interval(apart, weights, level=level, draws=draws, seed=seed)
    if found is None:
        raise ValueError("one sequence alone says nothing about others")
    return Difference(found, sign_flip_p_value(apart * weights, draws=draws, seed=seed), len(apart))


def _check_same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    if not first.index.equals(second.index) or not np.allclose(first["weight"], second["weight"]):
        raise ValueError("the two were not scored on the same frames")


@dataclass(frozen=True)
class Comparison:
    """What may be said of two methods, of each of which one network or more was trained.

    networks: of these very networks, on average over the seeds of each: chance is in the test sequences alone. methods:
    the interval of what lies between the methods, chance being in the sequences and in the seeds; None where one of
    them was trained with a single seed, so that nobody knows what another seed would do.
    """

    networks: Difference
    methods: Interval | None

    @property
    def significant(self) -> bool:
        """Whether the difference, of the methods where seeds were repeated, else of the networks, is beyond chance."""
        return self.networks.significant and (self.methods is None or self.methods.low > 0 or self.methods.high < 0)


def compare(
    first: Sequence[pd.DataFrame],
    second: Sequence[pd.DataFrame],
    *,
    fixed: tuple[bool, bool] = (False, False),
    level: float = LEVEL,
    draws: int = DRAWS,
) -> Comparison:
    """Compare two methods by the blocks of each seed. fixed: whether a method is the same whatever the seed.

    A seed moves all sequences alike, which no test over sequences sees, so that equal methods would be told apart by
    it. Therefore the variances are added: over blocks of what is left when seeds are averaged, and over seeds of the
    headline, divided by how many there are. Degrees of freedom: Welch and Satterthwaite (Welch, Biometrika 1947). What
    a seed does to single sequences is in both, so the interval is rather too wide than too narrow. Raises ValueError as
    `difference`.
    """
    ours, theirs = averaged(first), averaged(second)
    networks = difference(ours, theirs, level=level, draws=draws)
    seeds = [_seed_variance(one, whole) for one, whole in zip((first, second), fixed, strict=True)]
    apart = (ours["mean"] - theirs["mean"]).to_numpy()
    parts = [_block_variance(*_checked(apart, ours["weight"])), *(one for one in seeds if one)]
    return Comparison(networks, _welch(networks.value, parts, level) if all(seeds) else None)


def compare_records(first: Sequence[Record], second: Sequence[Record], metric: str = "mpjpe") -> Comparison:
    """Compare two methods by their records, one a seed. What was not trained here is one network, whatever its seeds.

    Raises ValueError as `difference`.
    """
    sides, fixed = [], []
    for records in (first, second):
        seeds = [recorded(one, metric) for one in records]
        trained_here = records[0].weights is None and not records[0].scored_from
        sides.append(seeds if trained_here else [averaged(seeds)])
        fixed.append(records[0].training.get("kept") == NOTHING_TRAINED)
    return compare(sides[0], sides[1], fixed=(fixed[0], fixed[1]))


def student(means: Any, weights: Any = None, *, level: float = LEVEL) -> Interval | None:
    """Student's interval of a weighted mean over blocks, for so few that a bootstrap is too narrow; None for one."""
    means, weights = _checked(means, weights)
    if len(means) < 2:
        return None
    return _welch(float(means @ weights), [_block_variance(means, weights)], level)


Variance = tuple[float, float]  # of a mean, and its degrees of freedom


def _block_variance(means: Floats, weights: Floats) -> Variance:
    """Of a weighted mean over blocks, by linearisation. Unequal weights count as fewer blocks (Kish, 1965)."""
    count = 1 / float(weights @ weights)
    variance = float(np.sum((weights * (means - means @ weights)) ** 2)) * count / (count - 1)
    return variance, count - 1


def _seed_variance(seeds: Sequence[pd.DataFrame], fixed: bool) -> Variance | None:
    """Of the mean over seeds of the headline; None where a single one does not tell."""
    if fixed:
        return 0.0, 1.0
    if len(seeds) < 2:
        return None
    headlines = [one["mean"].to_numpy() @ one["weight"].to_numpy() for one in seeds]
    return float(np.var(headlines, ddof=1)) / len(seeds), len(seeds) - 1.0


def _welch(value: float, parts: Sequence[Variance], level: float) -> Interval:
    """The interval around a value whose variance is the sum of parts."""
    from scipy import stats

    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Interval(value, value, value, level)
    degrees = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    half = float(stats.t.ppf((1 + level) / 2, degrees)) * variance**0.5
    return Interval(value, value - half, value + half, level)


def sign_flip_p_value(differences: Any, *, draws: int = DRAWS, seed: int = 0) -> float:
    """Two-sided p-value of a sum of differences if each might as well have had the other sign.

    differences: (blocks,), weighted. All sign patterns are tried where they are few, else random ones, and the pattern
    that was observed counts as one of them (Phipson and Smyth, 2010): the value is never 0.
    """
    values = np.asarray(differences, np.float64)
    observed = abs(values.sum())
    count = len(values)
    if count <= EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float(np.mean(_at_least(signs @ values, observed)))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (draws, count))
    return float((_at_least(signs @ values, observed).sum() + 1) / (draws + 1))


def _at_least(sums: Floats, observed: float) -> NDArray[np.bool_]:
    """Which sums are as far from zero as the observed one, up to rounding."""
    return np.asarray(np.abs(sums) >= observed * (1 - 1e-12))


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation over seeds; the latter is None for a single one."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def _checked(means: Any, weights: Any) -> tuple[Floats, Floats]:
    means = np.asarray(means, np.float64)
    weights = np.ones(len(means)) if weights is None else np.asarray(weights, np.float64)
    if means.ndim != 1 or means.shape != weights.shape or not len(means):
        raise ValueError(f"means {means.shape} and weights {weights.shape} must be the same, one a block")
    if not (np.isfinite(means).all() and (weights > 0).all()):
        raise ValueError("means must be finite and weights positive")
    return means, weights / weights.sum()
