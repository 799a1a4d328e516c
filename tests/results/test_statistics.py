"""Intervals and paired tests: against SciPy, closed forms, and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bench.results import statistics as stats
from bench.results.records import Record
from bench.results.statistics import (
    Difference,
    Interval,
    averaged,
    blocks,
    compare,
    difference,
    headline_interval,
    interval,
    sign_flip_p_value,
    spread,
    student,
    with_intervals_within_actions,
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


# Within actions


def actions_of(shape: list[int]) -> pd.DataFrame:
    """Blocks of a mean over actions: shape[a] sequences of action a, of unequal length."""
    rows = [
        ("S9", f"{action:02}", f"{action:02} {number}", 0.0, length)
        for action, count in enumerate(shape)
        for number, length in enumerate((1000, 1900, 700, 1400)[:count])
    ]
    found = pd.DataFrame(rows, columns=[*stats.BLOCK, "mean", "frames"]).set_index(stats.BLOCK)
    return stats._weighted(found, "actions")


def drawn(actions: pd.DataFrame, level: np.ndarray, spread: float, rng: np.random.Generator) -> pd.DataFrame:
    """A test set: sequences around the level of their action, with skewed errors."""
    of_each = level[pd.factorize(actions["within"])[0]]
    return actions.assign(mean=of_each + spread * (rng.gamma(9, size=len(of_each)) / 3 - 3))


@pytest.mark.parametrize("shape", [[4] * 15, [2] * 16, [3, 2, 4, 2, 3, 2, 2]], ids=["15x4", "16x2", "7 of 2 to 4"])
def test_the_interval_of_a_mean_over_fixed_actions_holds_the_truth_as_often_as_it_says(shape):
    """600 test sets of the same actions, whose mean errors are 35 to 75 mm; sequences of one differ by 4 mm."""
    rng, actions, level = np.random.default_rng(len(shape)), actions_of(shape), np.linspace(35, 75, len(shape))
    found = [headline_interval(drawn(actions, level, 4, rng)) for _ in range(600)]
    assert 0.91 <= np.mean([one.low <= level.mean() <= one.high for one in found]) <= 0.98


def test_what_actions_differ_by_is_no_uncertainty_of_their_mean():
    """15 actions of 4 sequences: drawn all alike, the interval would be more than twice as wide as is right."""
    rng, actions, level = np.random.default_rng(1), actions_of([4] * 15), np.linspace(35, 75, 15)
    sets = [drawn(actions, level, 4, rng) for _ in range(200)]
    right = 1.96 * np.std([one["mean"] @ one["weight"] for one in sets], ddof=1)
    halves = {
        way: np.mean([(one.high - one.low) / 2 for one in found])
        for way, found in {
            "within": [headline_interval(one) for one in sets],
            "alike": [interval(one["mean"], one["weight"], draws=400) for one in sets],
        }.items()
    }
    assert halves["within"] == pytest.approx(right, rel=0.15)
    assert halves["alike"] > 2 * right


def test_the_interval_within_actions_by_hand():
    """Two actions of two sequences of equal length: variances d^2 / 4 of each mean, one degree of freedom each."""
    rows = [
        ("S9", action, str(n), [mean] * 5)
        for action, pair in (("a", (10, 14)), ("b", (90, 96)))
        for n, mean in enumerate(pair)
    ]
    found = headline_interval(blocks(frames(*rows)))
    parts = np.array([4**2 / 4, 6**2 / 4]) / 2**2
    half = scipy.stats.t.ppf(0.975, parts.sum() ** 2 / (parts**2).sum()) * np.sqrt(parts.sum())
    assert [found.value, found.low, found.high] == pytest.approx([52.5, 52.5 - half, 52.5 + half])


def test_all_sequences_are_drawn_alike_where_an_action_has_one_or_frames_are_averaged():
    two_each = [
        ("S9", action, str(n), [float(5 * n + len(action))] * (n + 1)) for action in ("a", "bb") for n in (1, 2)
    ]
    rows = frames(*two_each)
    assert set(blocks(rows)["within"]) == {"a", "bb"}
    for one in (
        blocks(rows, averaging="frames"),
        blocks(frames(*two_each, ("S9", "ccc", "1", [3.0]))),
        blocks(rows[rows["action"] == "a"]),
    ):
        assert set(one["within"]) == {""}
        assert headline_interval(one) == interval(one["mean"], one["weight"])


def test_a_difference_within_actions_is_found_although_actions_differ_in_it():
    """Worse by 2 mm on average, by 12 at some actions and better by 8 at others: sequences of an action agree."""
    rng, actions = np.random.default_rng(2), actions_of([2] * 16)
    first = drawn(actions, 52 + 10 * (-1.0) ** np.arange(16), 1, rng)
    second = drawn(actions, np.full(16, 50.0), 1, rng)
    found = difference(first, second)
    assert found.within_actions
    assert found.value == pytest.approx(2, abs=0.7)
    assert found.significant
    assert found.interval.low > 0
    alike = difference(first.assign(within=""), second.assign(within=""))
    assert not alike.significant
    assert not alike.within_actions
    assert difference(first, first).p_value == 1
    assert difference(first.assign(mean=first["mean"] + 1), first).p_value == pytest.approx(0, abs=1e-9)


def test_methods_that_are_equal_on_average_over_fixed_actions_are_seldom_told_apart():
    """Each better at half of the actions; the p-value agrees with the interval."""
    rng, actions = np.random.default_rng(3), actions_of([4] * 15)
    level, gaps = np.linspace(35, 75, 15), 3 * (np.arange(15) - 7.0)
    found = [difference(drawn(actions, level + gaps, 4, rng), drawn(actions, level, 4, rng)) for _ in range(300)]
    assert 0.02 <= np.mean([one.significant for one in found]) <= 0.09
    assert all(one.significant == (one.interval.low > 0 or one.interval.high < 0) for one in found)


def test_seeds_add_to_what_sequences_do_within_actions():
    rng, actions = np.random.default_rng(4), actions_of([2] * 16)
    one, other = (drawn(actions, np.linspace(low, 75, 16), 15, rng) for low in (35, 50))
    plain = compare([one, one], [other, other])
    assert [plain.methods.low, plain.methods.high] == pytest.approx(
        [plain.networks.interval.low, plain.networks.interval.high]
    ), "equal seeds add nothing"
    moved = [one, one.assign(mean=one["mean"] + 4)]
    assert compare(moved, [other, other]).methods.high - plain.networks.value > 4


def test_intervals_of_a_record_are_made_again_within_actions_and_nothing_else_moves():
    rng = np.random.default_rng(5)
    rows = [("S9", action, f"{action} {n}", list(rng.gamma(9, 5, 20))) for action in "abc" for n in (1, 2, 3)]
    parts = blocks(frames(*rows))
    record = make_record(parts, frames_each=20)
    found = with_intervals_within_actions(record)
    right = headline_interval(parts)
    assert found.metrics["mpjpe"].ci == pytest.approx((right.low, right.high))
    assert found.metrics["mpjpe"].ci != record.metrics["mpjpe"].ci
    assert found.metrics["mpjpe_frames"] == record.metrics["mpjpe_frames"], "a mean over frames"
    assert found.metrics["mpjpe"].value == record.metrics["mpjpe"].value
    assert found.model_copy(update={"metrics": record.metrics}) == record
    assert with_intervals_within_actions(found) == found

    single = make_record(parts.iloc[:-2], frames_each=20)
    assert with_intervals_within_actions(single) == single, "one action has a single sequence left"
    assert with_intervals_within_actions(record.model_copy(update={"blocks": ()})).metrics == record.metrics


def make_record(parts: pd.DataFrame, frames_each: int) -> Record:
    """A record with these blocks and an interval that is none of theirs."""
    ends = {"unit": "mm", "ci": (1.0, 2.0)}
    return Record.model_validate(
        {
            "run_key": "0" * 16,
            "benchmark": "toy",
            "method": "mixste",
            "seed": 0,
            "accounting": "shared",
            "data": {"dataset": "synthetic", "keypoints": "det"},
            "receptive_field": 27,
            "metrics": {
                "mpjpe": {"value": float(parts["mean"] @ parts["weight"]), **ends},
                "mpjpe_frames": {"value": float(parts["mean"].mean()), **ends},
            },
            "blocks": [
                {
                    **dict(zip(stats.BLOCK, name, strict=True)),
                    "frames": frames_each,
                    "steps": 1,
                    "means": {"mpjpe": mean},
                }
                for name, mean in parts["mean"].items()
            ],
            "frames": 100,
            "sequences": len(parts),
            "parameters": 1,
            "macs_per_frame": 1,
            "provenance": {
                "config_hash": "c0ffee",
                "data_fingerprint": "da7a",
                "packages": {},
                "hardware": "CPU",
                "finished_at": "2026-01-01T00:00:00Z",
            },
        }
    )


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


def test_significance_follows_from_the_level():
    assert Difference(Interval(1, 0.5, 1.5), 0.04, 20).significant
    assert not Difference(Interval(1, 0.5, 1.5, level=0.99), 0.04, 20).significant


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30), st.floats(0.1, 10), st.floats(-50, 50))
def test_intervals_scale_and_shift_with_their_means(means, factor, shift):
    plain = interval(means, draws=200)
    moved = interval(np.array(means) * factor + shift, draws=200)
    assert plain.low <= plain.high
    assert [moved.value, moved.low, moved.high] == pytest.approx(
        [number * factor + shift for number in (plain.value, plain.low, plain.high)], abs=1e-6
    )


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_p_values_do_not_depend_on_which_method_comes_first(differences):
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
    return [pd.DataFrame({"mean": one, "weight": weights, "within": ""}) for one in means]


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
