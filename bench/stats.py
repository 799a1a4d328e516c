"""How sure a number is: intervals and paired tests over sequences, spread over seeds.

Frames of a video are not independent, nor are four cameras that film the same motion. So the unit that is drawn is the
*block*: one sequence of one subject with all its views. Each block has the mean error of its frames and the weight that
it has in the headline; the headline is the weighted mean over blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config import Averaging

if TYPE_CHECKING:
    from bench.records import Record

Floats = NDArray[np.floating[Any]]

LEVEL = 0.95
DRAWS = 9999
BLOCK = ["subject", "action", "sequence"]  # what names a block
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


def recorded(records: Iterable[Record], metric: str = "mpjpe", averaging: Averaging | None = None) -> pd.DataFrame:
    """The same from what records keep of each block; of several seeds of a method the mean over seeds.

    averaging: default as the protocol of the records. Empty where a record has no blocks or none with this metric.
    Raises ValueError if the records are not of the same frames.
    """
    seeds = []
    for record in records:
        counted = "steps" if metric == "mpjve" else "frames"
        rows = [
            (one.subject, one.action, one.sequence, one.means[metric], getattr(one, counted))
            for one in record.blocks
            if metric in one.means
        ]
        found = pd.DataFrame(rows, columns=[*BLOCK, "mean", "frames"]).set_index(BLOCK).sort_index()
        seeds.append(_weighted(found, averaging or record.protocol.get("averaging", "actions")))
    first = seeds[0]
    for other in seeds[1:]:
        _check_same(first, other)
    return first.assign(mean=np.mean([one["mean"].to_numpy() for one in seeds], axis=0))


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
