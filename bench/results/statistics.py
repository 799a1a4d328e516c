"""How sure a number is: intervals and paired tests over sequences, spread over seeds.

Frames of a video are not independent, nor are four cameras that film the same motion. So the unit of resampling is the
*block*: one sequence of one subject with all its views. A block has the mean error of its frames, and its weight in
the headline number: the headline is the weighted mean over blocks.

A plain mean over actions is a mean over *fixed* actions: other test sequences would be of the same actions. How far the
actions lie from each other is then no uncertainty, so sequences are resampled within each action. That needs two
sequences of every action; with fewer, and for a mean over frames, all sequences are resampled alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.schema import Averaging

if TYPE_CHECKING:
    from bench.results.records import Record

Floats = NDArray[np.floating[Any]]

LEVEL = 0.95
DRAWS = 9999
BLOCK = ["subject", "action", "sequence"]  # together they identify a block
NOTHING_TRAINED = "none to train"  # in the record of a method without training, which is the same for every seed
EXACT = 13  # up to this many blocks all patterns of signs are tried


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval at the given level."""

    value: float
    low: float
    high: float
    level: float = LEVEL


@dataclass(frozen=True)
class Difference:
    """First minus second of two methods on the same frames.

    p_value: two-sided, of the sign-flip test over blocks, or of Student's t where blocks are drawn within actions.
    blocks: how many there are. within_actions: whether they are drawn within actions.
    """

    interval: Interval
    p_value: float
    blocks: int
    within_actions: bool = False

    @property
    def value(self) -> float:
        """First minus second, in the unit of the metric."""
        return self.interval.value

    @property
    def significant(self) -> bool:
        """Whether the choice of test sequences alone rarely explains so large a difference: p_value below 1 - level."""
        return self.p_value < 1 - self.interval.level


def blocks(per_frame: pd.DataFrame, metric: str = "mpjpe", averaging: Averaging = "actions") -> pd.DataFrame:
    """The blocks of a test set: `mean`, `weight` and `within`, indexed by (subject, action, sequence).

    per_frame: as `bench.evaluation.Scores.per_frame`; frames without the metric do not count. Weights sum to 1, and
    the weighted mean is the headline: the plain mean over actions, or the mean over all frames. within: the action,
    if blocks are resampled within actions; else an empty text, the same for all.
    """
    by_block = per_frame.dropna(subset=metric).groupby(BLOCK, sort=True)[metric]
    return _weighted(pd.DataFrame({"mean": by_block.mean(), "frames": by_block.size()}), averaging)


def recorded(record: Record, metric: str = "mpjpe", averaging: Averaging | None = None) -> pd.DataFrame:
    """The blocks of a record; without rows if it has none, or none with this metric.

    averaging: default that of the record's headline.
    """
    rows = [
        (one.subject, one.action, one.sequence, one.means[metric], one.count(metric))
        for one in record.blocks
        if metric in one.means
    ]
    found = pd.DataFrame(rows, columns=[*BLOCK, "mean", "frames"]).set_index(BLOCK).sort_index()
    return _weighted(found, averaging or _averaging(record))


def _averaging(record: Record) -> Averaging:
    """How the headline of a record is averaged; older records, without that key, are averaged over actions."""
    found: Averaging = record.protocol.get("averaging", "actions")
    return found


def averaged(seeds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean over seeds, block by block. Raises ValueError if they were not scored on the same frames."""
    for other in seeds[1:]:
        _check_same(seeds[0], other)
    return seeds[0].assign(mean=np.mean([one["mean"].to_numpy() for one in seeds], axis=0))


def _weighted(found: pd.DataFrame, averaging: Averaging) -> pd.DataFrame:
    """Means with their weights in the headline. found: `mean` and `frames` of each block."""
    found["within"] = ""
    if averaging == "frames":
        found["weight"] = found["frames"] / found["frames"].sum()
    else:
        by_action = found.groupby(level="action")["frames"]
        found["weight"] = found["frames"] / by_action.transform("sum") / by_action.ngroups
        if by_action.ngroups > 1 and by_action.size().min() > 1:
            found["within"] = found.index.get_level_values("action")
    return pd.DataFrame(found[["mean", "weight", "within"]])


def headline_interval(
    found: pd.DataFrame, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """The interval of a headline; None for a single block, which has no spread. found: as `blocks`.

    Within actions: Student's, from the variances within each of them, whose sum over the squared number of actions is
    the variance of the headline. A bootstrap of two or three sequences per action underestimates their spread: with
    three actions of two sequences its interval covers the truth in 81 to 84 % of simulations, Student's in 99 %
    (docs/explanation/statistics.md). Otherwise: the bootstrap of `interval`.
    """
    if _within_actions(found):
        return _student(found, level)
    return interval(found["mean"], found["weight"], level=level, draws=draws, seed=seed)


def _within_actions(found: pd.DataFrame) -> bool:
    return found["within"].nunique() > 1


def with_intervals_within_actions(record: Record) -> Record:
    """The record with intervals computed from its blocks, where these are resampled within actions.

    For records older than such intervals. Intervals over all blocks alike are kept: computed again from the rounded
    means of a file, they would differ in the last digit.
    """
    own = _averaging(record)
    found = dict(record.metrics)
    for metric in record.blocks[0].means if record.blocks else ():
        for averaging in get_args(Averaging):
            name = metric if averaging == own else f"{metric}_{averaging}"
            parts = recorded(record, metric, averaging)
            if name in found and _within_actions(parts):
                shown = _student(parts, LEVEL)
                found[name] = found[name].model_copy(update={"ci": (shown.low, shown.high)})
    return record.model_copy(update={"metrics": found})


def interval(
    means: Any, weights: Any = None, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Bootstrap interval of a weighted mean over blocks; None for a single block, which has no spread.

    means: (blocks,), weights: (blocks,), default equal. Blocks are drawn with replacement, each with its weight. The
    percentiles lie a little farther out than the level says, as Student's t distribution requires: plain ones are too
    narrow where blocks are few (Hesterberg, The American Statistician 2015, expanded percentiles). Raises ValueError
    for means that are not finite and weights that are not positive.
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
    """Which quantiles of the bootstrap distribution of `count` blocks are the ends of the interval."""
    from scipy import special  # the functions of scipy.stats.t and .norm, without the second that its import takes

    tail = float(special.ndtr(np.sqrt(count / (count - 1)) * special.stdtrit(count - 1, (1 - level) / 2)))
    return tail, 1 - tail


def difference(
    first: pd.DataFrame, second: pd.DataFrame, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Compare two methods block by block. first, second: as `blocks`, of the same test set.

    Signs are flipped where all blocks are resampled alike. Within actions that would count as chance that one method is
    better at some actions and worse at others, which every test set shows; so the p-value is Student's, with the
    variances of the interval. Raises ValueError if their blocks or weights are not the same, or if there are fewer
    than two blocks.
    """
    apart = _apart(first, second)
    found = headline_interval(apart, level=level, draws=draws, seed=seed)
    if found is None:
        raise ValueError("one sequence alone says nothing about others")
    if _within_actions(apart):
        return Difference(found, _student_p_value(apart), len(apart), within_actions=True)
    weighted = (apart["mean"] * apart["weight"]).to_numpy()
    return Difference(found, sign_flip_p_value(weighted, draws=draws, seed=seed), len(apart))


def _apart(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """First minus second, block by block, as `blocks`."""
    _check_same(first, second)
    return first.assign(mean=first["mean"] - second["mean"])


def _check_same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    if not first.index.equals(second.index) or not np.allclose(first["weight"], second["weight"]):
        raise ValueError("the two were not scored on the same frames")


@dataclass(frozen=True)
class Comparison:
    """The comparison of two methods, each trained once or with several seeds.

    networks: the difference of these very networks, averaged over the seeds of each: chance is in the test sequences
    alone. methods: the interval of the difference of the methods: chance is in the sequences and in the seeds; None
    if one of them was trained with a single seed, as the effect of other seeds is then not known.
    """

    networks: Difference
    methods: Interval | None

    @property
    def significant(self) -> bool:
        """Whether the difference is beyond chance: of the methods if seeds were repeated, else of the networks."""
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

    A seed moves all sequences alike, which no test over sequences sees: it would call equal methods different. So the
    variances are added: over blocks, of the difference averaged over seeds; and over seeds, of each headline, divided
    by the number of seeds. Degrees of freedom: Welch and Satterthwaite (Welch, Biometrika 1947). What a seed does to
    single sequences is in both, so the interval is rather too wide than too narrow. Raises ValueError as `difference`.
    """
    ours, theirs = averaged(first), averaged(second)
    networks = difference(ours, theirs, level=level, draws=draws)
    seeds = [_seed_variance(one, whole) for one, whole in zip((first, second), fixed, strict=True)]
    parts = [*_block_variances(_apart(ours, theirs)), *(one for one in seeds if one)]
    return Comparison(networks, _welch(networks.value, parts, level) if all(seeds) else None)


def compare_records(first: Sequence[Record], second: Sequence[Record], metric: str = "mpjpe") -> Comparison:
    """Compare two methods by their records, one per seed. Raises ValueError as `difference`.

    What was not trained here (published weights, submitted predictions) is one network, whatever its seeds.
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
    return _student(pd.DataFrame({"mean": means, "weight": weights, "within": ""}), level)


Variance = tuple[float, float]  # of a mean, and its degrees of freedom


def _student(found: pd.DataFrame, level: float) -> Interval:
    return _welch(_headline(found), _block_variances(found), level)


def _headline(found: pd.DataFrame) -> float:
    return float(found["mean"].to_numpy() @ found["weight"].to_numpy())


def _student_p_value(found: pd.DataFrame) -> float:
    """Two-sided p-value of a headline of zero, with the variances and degrees of freedom of `_student`."""
    from scipy import special

    value = _headline(found)
    variance, degrees = _sum(_block_variances(found))
    if variance == 0:
        return float(value == 0)
    return float(2 * special.stdtr(degrees, -abs(value) / variance**0.5))


def _block_variances(found: pd.DataFrame) -> list[Variance]:
    """The variances whose sum is that of a headline: one per action if resampled within actions, else one.

    By linearisation; unequal weights count as fewer blocks (Kish, 1965).
    """
    means, weights = _checked(found["mean"], found["weight"])
    part = pd.factorize(found["within"])[0]
    share = np.bincount(part, weights)
    weights = weights / share[part]
    count = 1 / np.bincount(part, weights**2)
    apart = means - np.bincount(part, weights * means)[part]
    variance = np.bincount(part, (weights * apart) ** 2) * count / (count - 1)
    return list(zip(share**2 * variance, count - 1, strict=True))


def _seed_variance(seeds: Sequence[pd.DataFrame], fixed: bool) -> Variance | None:
    """Variance of the mean over seeds of the headline; None for a single seed."""
    if fixed:
        return 0.0, 1.0
    if len(seeds) < 2:
        return None
    headlines = [_headline(one) for one in seeds]
    return float(np.var(headlines, ddof=1)) / len(seeds), len(seeds) - 1.0


def _welch(value: float, parts: Sequence[Variance], level: float) -> Interval:
    """Student's interval around a value whose variance is the sum of parts."""
    from scipy import special

    variance, degrees = _sum(parts)
    if variance == 0:
        return Interval(value, value, value, level)
    half = float(special.stdtrit(degrees, (1 + level) / 2) * variance**0.5)
    return Interval(value, value - half, value + half, level)


def _sum(parts: Sequence[Variance]) -> Variance:
    """The variance of a sum, with Welch's and Satterthwaite's degrees of freedom."""
    variance = float(sum(part for part, _ in parts))
    if variance == 0:
        return 0.0, 1.0
    return variance, variance**2 / float(sum(part**2 / degrees for part, degrees in parts))


def sign_flip_p_value(differences: Any, *, draws: int = DRAWS, seed: int = 0) -> float:
    """Two-sided p-value of a sum of differences, if either sign of each is equally likely.

    differences: (blocks,), weighted. All sign patterns are tried where they are few, else random ones; the observed
    pattern counts as one of them (Phipson and Smyth, 2010), so that the value is never 0.
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
        raise ValueError(f"means {means.shape} and weights {weights.shape} must be equally many, one per block")
    if not (np.isfinite(means).all() and (weights > 0).all()):
        raise ValueError("means must be finite and weights positive")
    return means, weights / weights.sum()
