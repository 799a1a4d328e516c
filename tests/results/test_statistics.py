"""Intervals and paired tests: against SciPy, closed forms, and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bench.results import statistics as stats
from bench.results.statistics import (
    Difference,
    Interval,
    averaged,
    blocks,
    compare,
    difference,
    interval,
    sign_flip_p_value,
    spread,
    student,
)


def frames(*rows: tuple[str, str, str, list[float]]) -> pd.DataFrame:
    """Scored frames: subject, action, sequence, their errors."""
    return pd.concat(
        [
            pd.DataFrame({"subject": subject, "action": action, "sequence": sequence, "camera": "a", "mpjpe": errors})
            for subject, action, sequence, errors in rows
        ]
    )


SCORED = frames(
    ("S9", "sit", "sit 1", [10, 20]),
    ("S9", "sit", "sit 2", [60]),
    ("S9", "walk", "walk", [1, 2, 3, np.nan]),
    ("S11", "sit", "sit 1", [30] * 5),
)


@pytest.mark.parametrize(
    ("averaging", "headline"), [("actions", ((10 + 20 + 60 + 150) / 8 + 2) / 2), ("frames", 246 / 11)]
)
def test_the_weighted_mean_over_blocks_is_the_headline(averaging, headline):
    found = blocks(SCORED, averaging=averaging)
    assert len(found) == 4, "S9's and S11's sit 1 are two"
    assert found["weight"].sum() == pytest.approx(1)
    assert (found["mean"] * found["weight"]).sum() == pytest.approx(headline)


def test_views_of_one_motion_are_one_block():
    two = pd.concat([SCORED, SCORED.assign(camera="b")])
    assert len(blocks(two)) == 4


def test_the_interval_is_scipys_where_the_quantiles_are_the_same(monkeypatch):
    monkeypatch.setattr(stats, "_expanded", lambda level, count: ((1 - level) / 2, (1 + level) / 2))
    means = np.random.default_rng(1).gamma(3, 20, 40)
    ours = interval(means, draws=20_000)
    theirs = scipy.stats.bootstrap((means,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.value == pytest.approx(means.mean())
    assert [ours.low, ours.high] == pytest.approx(list(theirs.confidence_interval), abs=0.03 * width)


def test_the_interval_of_normal_numbers_is_students():
    means = scipy.stats.norm.ppf((np.arange(30) + 0.5) / 30) * 5 + 50
    found = interval(means, draws=40_000)
    half = scipy.stats.t.ppf(0.975, 29) * means.std(ddof=1) / np.sqrt(30)
    assert [found.low, found.high] == pytest.approx([50 - half, 50 + half], abs=0.05 * half)


@pytest.mark.parametrize("count", [8, 14, 59])
def test_the_interval_holds_the_truth_as_often_as_it_says(count):
    """Sequences of unequal difficulty and length; 600 test sets from the same source."""
    rng = np.random.default_rng(count)
    weights = rng.uniform(0.5, 2, count)
    held = 0
    for draw in range(600):
        means = rng.gamma(9, 5, count)  # mean 45, skewed
        found = interval(means, weights, draws=400, seed=draw)
        held += found.low <= 45 <= found.high
    assert 0.91 <= held / 600 <= 0.98


def test_a_single_block_has_no_interval():
    assert interval([40.0]) is None
    with pytest.raises(ValueError, match="one sequence alone"):
        difference(blocks(SCORED.iloc[:2]), blocks(SCORED.iloc[:2]))


@pytest.mark.parametrize("count", [6, 12])
def test_the_p_value_is_scipys(count):
    values = np.random.default_rng(count).normal(0.5, 1, count)
    theirs = scipy.stats.permutation_test(
        (values, np.zeros(count)),
        lambda first, second, axis: (first - second).sum(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert sign_flip_p_value(values) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_random_sign_flips_agree_with_all_of_them(monkeypatch):
    values = np.random.default_rng(4).normal(0.4, 1, 12)
    exact = sign_flip_p_value(values)
    monkeypatch.setattr(stats, "EXACT", 0)
    assert sign_flip_p_value(values) == pytest.approx(exact, abs=0.015)


def test_equal_methods_are_told_apart_no_more_often_than_chance():
    rng = np.random.default_rng(5)
    rejected = np.mean([sign_flip_p_value(rng.standard_t(3, 20), draws=199, seed=i) < 0.05 for i in range(600)])
    assert 0.02 <= rejected <= 0.08


def test_a_difference_on_the_same_frames():
    worse = SCORED.assign(mpjpe=SCORED["mpjpe"] + [4, 4, 4, 4, 4, 4, 0, *[4] * 5])
    found = difference(blocks(worse), blocks(SCORED))
    assert found.value == pytest.approx(4)
    assert found.interval.low == pytest.approx(found.interval.high) == pytest.approx(4)
    assert found.p_value == 2 / 2**4, "all four blocks agree: one pattern and its mirror image"
    assert not found.significant
    assert found.blocks == 4
    with pytest.raises(ValueError, match="same frames"):
        difference(blocks(SCORED), blocks(SCORED[SCORED["subject"] == "S9"]))


def test_what_is_significant_follows_from_the_level():
    assert Difference(Interval(1, 0.5, 1.5), 0.04, 20).significant
    assert not Difference(Interval(1, 0.5, 1.5, level=0.99), 0.04, 20).significant


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30), st.floats(0.1, 10), st.floats(-50, 50))
def test_intervals_move_with_their_numbers(means, factor, shift):
    plain = interval(means, draws=200)
    moved = interval(np.array(means) * factor + shift, draws=200)
    assert plain.low <= plain.high
    assert [moved.value, moved.low, moved.high] == pytest.approx(
        [number * factor + shift for number in (plain.value, plain.low, plain.high)], abs=1e-6
    )


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_p_values_do_not_ask_who_comes_first(differences):
    p_value = sign_flip_p_value(differences, draws=200)
    assert 0 < p_value <= 1
    if len(differences) <= stats.EXACT:
        assert p_value == sign_flip_p_value([-one for one in differences])


def test_spread_over_seeds():
    assert spread([40.0, 42.0, 44.0]) == (42.0, 2.0)
    assert spread([40.0]) == (40.0, None)


# Seeds


def seeds(*means: list[float], weights: tuple[float, ...] = ()) -> list[pd.DataFrame]:
    """The blocks of each seed."""
    weights = weights or (1 / len(means[0]),) * len(means[0])
    return [pd.DataFrame({"mean": one, "weight": weights}) for one in means]


def test_students_interval_by_hand():
    found = student([1.0, 2.0, 6.0])
    half = scipy.stats.t.ppf(0.975, 2) * np.std([1, 2, 6], ddof=1) / np.sqrt(3)
    assert [found.value, found.low, found.high] == pytest.approx([3, 3 - half, 3 + half])
    theirs = scipy.stats.ttest_1samp([1.0, 2.0, 6.0], 0).confidence_interval(0.95)
    assert [found.low, found.high] == pytest.approx(list(theirs))
    assert student([1.0]) is None


def test_without_variance_over_sequences_the_interval_is_welchs():
    ours, theirs = [50.0, 51.0, 53.0], [60.0, 66.0]
    found = compare(seeds(*([one] * 8 for one in ours)), seeds(*([one] * 8 for one in theirs)))
    welch = scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert [found.methods.low, found.methods.high] == pytest.approx(list(welch))
    assert found.networks.significant, "these five networks do differ"
    assert not found.significant, "and yet two seeds of the second are too few to tell methods apart"


def test_the_variances_of_sequences_and_seeds_add():
    """Differences 1..8 over sequences, and headlines that lie 4 apart over two seeds of one method alone."""
    first = seeds([float(n) + 8 for n in range(8)], [float(n) + 12 for n in range(8)])
    found = compare(first, seeds([0.0] * 8), fixed=(False, True)).methods
    over_blocks, over_seeds = np.var(range(8), ddof=1) / 8, np.var([11.5, 15.5], ddof=1) / 2
    degrees = (over_blocks + over_seeds) ** 2 / (over_blocks**2 / 7 + over_seeds**2 / 1)
    half = scipy.stats.t.ppf(0.975, degrees) * np.sqrt(over_blocks + over_seeds)
    assert [found.value, found.low, found.high] == pytest.approx([13.5, 13.5 - half, 13.5 + half])


def test_a_single_seed_says_nothing_of_the_method_unless_a_seed_changes_nothing():
    one, three = seeds([float(n) for n in range(10)]), seeds(*([n + 5.0 + s for n in range(10)] for s in range(3)))
    assert compare(one, three).methods is None
    assert compare(one, three, fixed=(True, False)).methods is not None
    assert compare(one, three).networks.value == pytest.approx(-6)
    with pytest.raises(ValueError, match="same frames"):
        averaged([*one, *seeds([1.0, 2.0])])


@pytest.mark.parametrize(("count", "repeats", "spread_of_seeds"), [(14, 2, 2), (14, 5, 0), (59, 3, 0.8)])
def test_equal_methods_are_called_different_as_often_as_the_level_says_and_unequal_ones_are_found(
    count, repeats, spread_of_seeds
):
    """Sequences of unequal difficulty; each method has its own strengths, each seed its own level and weaknesses."""
    rng = np.random.default_rng(count)
    weights = rng.uniform(0.5, 2, count)
    weights = tuple(weights / weights.sum())

    def method(difficulty, gap):
        strengths = difficulty + gap + rng.normal(0, 3, count)
        networks = [strengths + rng.normal(0, spread_of_seeds) + rng.normal(0, 1, count) for _ in range(repeats)]
        return seeds(*networks, weights=weights)

    found = {0: [], 8: []}
    for gap, called in found.items():
        for _ in range(300 if gap == 0 else 40):
            difficulty = rng.gamma(9, 5, count)
            called.append(compare(method(difficulty, gap), method(difficulty, 0), draws=199).significant)
    assert np.mean(found[0]) <= 0.08, "5 % and what 300 draws add"
    assert np.mean(found[8]) >= 0.6
