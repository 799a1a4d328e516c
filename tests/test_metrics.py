"""Metrics: golden numbers, cases worked out by hand, properties, degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bench.geometry.skeleton import MPI_INF_3DHP_GROUPS
from bench.metrics import accel, auc, joint_errors, mpjpe, mpjve, n_mpjpe, p_mpjpe, pck, pck150

SEEDS = st.integers(0, 2**32 - 1)


def test_golden_cases(golden):
    stored = golden("metrics.npz")
    cases = sorted(key.removesuffix("__pred") for key in stored if key.endswith("__pred"))
    assert len(cases) >= 12
    for case in cases:
        predicted, target = stored[f"{case}__pred"], stored[f"{case}__target"]
        expect = {
            "mpjpe": mpjpe(predicted, target),
            "mpjpe_frame": mpjpe(predicted, target, reduce="none"),
            "mpjpe_joint": joint_errors(predicted, target).mean(dim=0),
            "p_mpjpe": p_mpjpe(predicted, target),
            "p_mpjpe_frame": p_mpjpe(predicted, target, reduce="none"),
            "n_mpjpe": n_mpjpe(predicted, target),
            "n_mpjpe_frame": n_mpjpe(predicted, target, reduce="none"),
            "mpjve": mpjve(predicted, target),
        }
        scale = abs(target).max()
        for name, found in expect.items():
            np.testing.assert_allclose(found, stored[f"{case}__{name}"], rtol=1e-9, atol=1e-12 * scale, err_msg=case)


def test_losses_that_poseformer_names_are_these_metrics(golden):
    stored = golden("poseformer_loss.npz")
    predicted, target = stored["in/pred"][:, 0], stored["in/target"][:, 0]
    metrics = {"mpjpe": mpjpe, "n_mpjpe": n_mpjpe, "p_mpjpe": p_mpjpe, "mean_velocity_error": mpjve}
    for name, metric in metrics.items():
        np.testing.assert_allclose(metric(predicted, target), stored[f"out/{name}"], rtol=1e-6, err_msg=name)


def test_velocity_does_not_cross_from_one_video_to_the_next(golden):
    stored = golden("metrics.npz")
    predicted = np.concatenate([stored["accounting__pred0"], stored["accounting__pred1"]])
    target = np.concatenate([stored["accounting__target0"], stored["accounting__target1"]])
    lengths = [len(stored["accounting__pred0"]), len(stored["accounting__pred1"])]
    expected = stored["accounting__mpjve_difference_weighted"]
    np.testing.assert_allclose(mpjve(predicted, target, lengths=lengths), expected, rtol=1e-9)
    joined = stored["accounting__mpjve_one_concatenated_batch"]
    np.testing.assert_allclose(mpjve(predicted, target), joined, rtol=1e-9)
    assert len(mpjve(predicted, target, reduce="none", lengths=lengths)) == sum(lengths) - 2


def test_velocity_refuses_lengths_that_do_not_fit():
    poses = torch.zeros(5, 17, 3)
    with pytest.raises(ValueError, match="sum to 4"):
        mpjve(poses, poses, lengths=[2, 2])


def test_by_hand():
    target = torch.zeros(2, 2, 3)
    predicted = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    assert mpjpe(predicted, target) == pytest.approx(1.5)
    assert mpjpe(predicted, target, reduce="none").tolist() == [3.0, 0.0]
    assert mpjve(predicted, target) == pytest.approx(3.0)


@given(seed=SEEDS, scale=st.floats(0.1, 10))
@settings(max_examples=30)
def test_p_mpjpe_ignores_similarity_transforms(seed, scale):
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 0.3, (5, 17, 3))
    moved = scale * target @ Rotation.random(rng=rng).as_matrix() + rng.normal(0, 1, 3)
    assert p_mpjpe(moved, target) < 1e-9


@given(seed=SEEDS)
@settings(max_examples=30)
def test_p_mpjpe_does_not_reflect(seed):
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 0.3, (5, 17, 3))
    assert p_mpjpe(target * [-1, 1, 1], target) > 0.01


@given(seed=SEEDS)
@settings(max_examples=30)
def test_aligning_helps_in_the_squared_error_it_minimises(seed):
    rng = np.random.default_rng(seed)
    target, predicted = rng.normal(0, 0.3, (2, 6, 17, 3))
    target, predicted = target - target.mean(1, keepdims=True), predicted - predicted.mean(1, keepdims=True)
    assert (n_mpjpe(predicted, target) >= 0).all()
    scaled = predicted * 3.0
    np.testing.assert_allclose(n_mpjpe(scaled, target), n_mpjpe(predicted, target), rtol=1e-9)


def test_a_prediction_in_one_point_has_no_scale():
    target = torch.randn(3, 17, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    collapsed = torch.full_like(target, 0.25)
    centred = target - target.mean(dim=1, keepdim=True)
    torch.testing.assert_close(p_mpjpe(collapsed, target, "none"), torch.linalg.vector_norm(centred, dim=-1).mean(-1))
    torch.testing.assert_close(n_mpjpe(torch.zeros_like(target), target), mpjpe(torch.zeros_like(target), target))


def test_one_frame_has_no_velocity():
    assert mpjve(torch.zeros(1, 17, 3), torch.ones(1, 17, 3)).isnan()


def test_acceleration_by_hand():
    target = torch.zeros(4, 2, 3)
    predicted = torch.zeros(4, 2, 3)
    predicted[:, 0, 0] = torch.tensor([0.0, 1.0, 4.0, 9.0])  # the second difference is 2
    assert accel(predicted, target, reduce="none").tolist() == [1.0, 1.0]
    assert accel(predicted, target) == 1.0
    predicted[:, 0, 0] = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert accel(predicted, target) == 0.0, "a steady error does not jitter"


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=6), seed=SEEDS)
@settings(max_examples=30)
def test_acceleration_is_never_taken_across_videos(lengths, seed):
    predicted, target = np.random.default_rng(seed).normal(0, 1, (2, sum(lengths), 17, 3))
    ends = np.cumsum(lengths)[:-1]
    pieces = zip(np.split(predicted, ends), np.split(target, ends), strict=True)
    apart = torch.cat([accel(*piece, reduce="none") for piece in pieces if len(piece[0]) > 2] or [torch.zeros(0)])
    assert torch.equal(accel(predicted, target, "none", lengths=lengths), apart)


def test_two_frames_have_no_acceleration():
    for frames in (1, 2):
        assert accel(torch.zeros(frames, 17, 3), torch.ones(frames, 17, 3)).isnan()
    with pytest.raises(ValueError, match="accel: the lengths sum to 4"):
        accel(torch.zeros(3, 17, 3), torch.zeros(3, 17, 3), lengths=[2, 2])


def test_pck_at_150_mm_by_hand():
    errors = np.array([[0.0, 149.9, 150.0, 10.0, 400.0]])  # not below 150: does not pass
    assert pck150(errors) == 50
    assert pck150(errors, root=None) == 60
    assert pck150(errors, root=4) == 75
    assert pck150(np.zeros((3, 17)), reduce="none").tolist() == [100] * 3
    with pytest.raises(ValueError, match=r"errors are \(frames, joints\), not \(17,\)"):
        pck150(np.zeros(17))


def test_batches_give_the_same_as_single_frames():
    target, predicted = torch.randn(2, 4, 6, 17, 3, generator=torch.Generator().manual_seed(0)).double().unbind()
    for metric in (mpjpe, p_mpjpe, n_mpjpe):
        whole = metric(predicted, target, "none")
        assert whole.shape == (4, 6)
        torch.testing.assert_close(whole[2], metric(predicted[2], target[2], "none"))


def test_pck_and_auc_by_hand():
    errors = np.full((2, 17), 200.0)
    errors[0, :14] = 0.0
    errors[1, :7] = 150.0  # not below 150: does not pass
    errors[1, 7:14] = 149.0
    errors[:, 14:] = 0.0  # pelvis, spine and head do not count
    assert pck(errors) == pytest.approx(100 * (14 + 7) / 28)
    # zero errors pass 30 of the 31 thresholds (not 0), errors of 149 pass only 150
    assert auc(errors) == pytest.approx(100 * (14 * 30 + 7 * 1) / (28 * 31))
    assert auc(np.zeros((1, 17))) == pytest.approx(100 * 30 / 31)


def test_pck_and_auc_are_means_over_frames():
    errors = np.random.default_rng(0).uniform(0, 200, (9, 17))
    for metric in (pck, auc):
        frames = metric(errors, reduce="none")
        assert frames.shape == (9,)
        assert frames.mean() == pytest.approx(float(metric(errors)))
        assert frames[4] == pytest.approx(float(metric(errors[4:5])))


@pytest.mark.parametrize("case", ["random", "missing_activity", "edges", "nonzero_root"])
def test_pck_auc_and_mpjpe_are_those_of_the_official_functions(golden, case):
    stored = {key.removeprefix(f"{case}__"): value for key, value in golden("pck_auc.npz").items()}
    pooled = []
    for number in range(6):
        target = stored[f"TS{number + 1}_target"][stored[f"TS{number + 1}_valid"] == 1]
        errors = joint_errors(stored[f"TS{number + 1}_pred"], target - target[:, 14:15])
        pooled.append(errors)
        np.testing.assert_allclose(pck(errors), stored["seq_pck"][number, -1], rtol=1e-9)
        np.testing.assert_allclose(auc(errors), stored["seq_auc"][number, -1], rtol=1e-9)
        np.testing.assert_allclose(errors.mean(), stored["seq_mpjpe"][number, -1], rtol=1e-9)
        for metric, name in ((pck, "pck"), (auc, "auc")):
            by_group = [float(metric(errors, joints=joints)) for joints in MPI_INF_3DHP_GROUPS.values()]
            np.testing.assert_allclose(by_group, stored[f"seq_{name}"][number, :-1], rtol=1e-9)
    everything = torch.cat(pooled)
    for name, found in (("pck", pck(everything)), ("auc", auc(everything)), ("mpjpe", everything.mean())):
        np.testing.assert_allclose(found, stored[f"act_{name}"][-1, -1], rtol=1e-9)  # the row of all activities
        np.testing.assert_allclose(found, stored[f"{name}_frame_weighted"], rtol=1e-9)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="must be the same"):
        mpjpe(torch.zeros(2, 17, 3), torch.zeros(2, 16, 3))
    with pytest.raises(ValueError, match="must be the same"):
        mpjpe(torch.zeros(2, 17, 2), torch.zeros(2, 17, 2))
    with pytest.raises(ValueError, match="reduce"):
        mpjpe(torch.zeros(2, 17, 3), torch.zeros(2, 17, 3), reduce="sum")
    with pytest.raises(ValueError, match=r"\(frames, 17\)"):
        pck(np.zeros((3, 14)))
