"""Synthetic people have constant bones, joints that bend the right way, feet on the floor and smooth motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.data import synthetic
from bench.data.mocap.actions import ACTIONS, LIMITS
from bench.data.synthetic import FPS, SUBJECTS, Synthetic, bone_lengths, joint_angles, motion
from bench.geometry.skeleton import H36M_17
from bench.system.errors import BenchError

INDEX = {name: joint for joint, name in enumerate(H36M_17.joints)}
SIDES = ("left", "right")


@pytest.fixture(scope="module")
def performances() -> dict[tuple[str, str, int], np.ndarray]:
    return {
        (subject, action, take): motion(subject, action, take)
        for subject in SUBJECTS
        for action in ACTIONS
        for take in range(ACTIONS[action].takes)
    }


def joint(poses: np.ndarray, name: str) -> np.ndarray:
    return poses[:, INDEX[name]]


def bend(poses: np.ndarray, upper: str, middle: str, lower: str) -> np.ndarray:
    """Degrees by which a hinge departs from straight."""
    first = joint(poses, middle) - joint(poses, upper)
    second = joint(poses, lower) - joint(poses, middle)
    cosine = (first * second).sum(-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)
    return np.rad2deg(np.arccos(cosine.clip(-1, 1)))


def test_every_performance_is_five_to_six_seconds_of_finite_poses(performances):
    for poses in performances.values():
        assert poses.shape[1:] == (17, 3)
        assert 250 <= len(poses) <= 300
        assert np.isfinite(poses).all()


def test_bones_keep_their_length_and_match_left_to_right(performances):
    for (subject, *_), poses in performances.items():
        lengths = np.stack([np.linalg.norm(poses[:, a] - poses[:, b], axis=-1) for a, b in H36M_17.bones])
        assert np.ptp(lengths, axis=1).max() < 1e-9
        by_joint = dict(zip((a for a, _ in H36M_17.bones), lengths[:, 0], strict=True))
        for left, right in zip(H36M_17.left, H36M_17.right, strict=True):
            assert by_joint[left] == pytest.approx(by_joint[right], abs=1e-9)
        assert by_joint[INDEX["left knee"]] == pytest.approx(bone_lengths(subject)["thigh"])


def test_no_two_subjects_have_the_same_bones():
    bones = np.array([list(bone_lengths(subject).values()) for subject in SUBJECTS])
    differences = np.abs(bones[:, None] - bones[None]).max(axis=-1)[np.triu_indices(len(SUBJECTS), 1)]
    assert differences.min() > 0.005
    assert np.abs(bones / bones.mean(axis=0) - 1).max() < 0.15


def test_knees_bend_backwards_only(performances):
    for key, poses in performances.items():
        to_left = joint(poses, "left hip") - joint(poses, "right hip")
        for side in SIDES:
            thigh = joint(poses, f"{side} knee") - joint(poses, f"{side} hip")
            shin = joint(poses, f"{side} ankle") - joint(poses, f"{side} knee")
            # Legs turn less than 90 degrees outwards, so the hinge's axis keeps pointing to the left.
            assert ((np.cross(thigh, shin) * to_left).sum(axis=-1) > 0).all(), (key, side)


def test_elbows_bend_forwards_only_where_the_arm_hangs(performances):
    """A raised arm turns its hinge anywhere; where it hangs, forward means what the chest faces."""
    seen = 0
    for (subject, action, take), poses in performances.items():
        angles = joint_angles(subject, action, take)
        to_left = joint(poses, "left shoulder") - joint(poses, "right shoulder")
        for side in SIDES:
            hanging = (np.abs(angles[f"{side} shoulder in"]) < 45) & (angles[f"{side} shoulder out"] < 45)
            upper = joint(poses, f"{side} elbow") - joint(poses, f"{side} shoulder")
            fore = joint(poses, f"{side} wrist") - joint(poses, f"{side} elbow")
            assert ((np.cross(fore, upper) * to_left).sum(axis=-1)[hanging] > 0).all(), (subject, action, side)
            seen += hanging.sum()
    assert seen > 10_000


def test_hinges_in_space_show_the_angles_and_stay_within_limits(performances):
    for (subject, action, take), poses in performances.items():
        angles = joint_angles(subject, action, take)
        for name, (low, high) in LIMITS.items():
            assert low - 1e-9 <= angles[name].min() <= angles[name].max() <= high + 1e-9, (subject, action, name)
        for side in SIDES:
            knee = bend(poses, f"{side} hip", f"{side} knee", f"{side} ankle")
            elbow = bend(poses, f"{side} shoulder", f"{side} elbow", f"{side} wrist")
            np.testing.assert_allclose(knee, angles[f"{side} knee"], atol=1e-4)
            np.testing.assert_allclose(elbow, angles[f"{side} elbow"], atol=1e-4)


def test_nobody_sinks_into_the_floor_or_floats_above_it(performances):
    for (subject, action, _), poses in performances.items():
        assert poses[..., 2].min() > 0.05, (subject, action)
        lowest = poses[..., 2].min(axis=1)
        airborne = 0.5 if action == "jump" else 0.2 if action in ("run", "jack") else 0.15
        assert lowest.max() < airborne, (subject, action)
        if action not in ("jump", "run", "jack"):
            assert poses[:, [INDEX["left ankle"], INDEX["right ankle"]], 2].min(axis=1).max() < 0.12, (subject, action)


def test_jumps_leave_the_floor():
    for subject in SUBJECTS:
        assert motion(subject, "jump")[..., 2].min(axis=1).max() > 0.25


def test_nobody_moves_faster_or_more_abruptly_than_people_do(performances):
    for key, poses in performances.items():
        speed = np.linalg.norm(np.diff(poses, axis=0), axis=-1) * FPS
        acceleration = np.linalg.norm(np.diff(poses, 2, axis=0), axis=-1) * FPS**2
        assert speed.max() < 10, key  # metres a second
        assert acceleration.max() < 150, key  # metres a second squared: a sprinter's foot


def test_walking_gets_somewhere_on_feet_that_do_not_slide():
    for subject in SUBJECTS:
        poses = motion(subject, "walk")
        path = np.linalg.norm(np.diff(poses[:, 0, :2], axis=0), axis=1).sum() / (len(poses) - 1) * FPS
        assert 0.6 < path < 1.6
        assert np.abs(poses[:, 0, :2]).max() < 2.5  # it stays in the room
        feet = poses[:, [INDEX["left ankle"], INDEX["right ankle"]]]
        sliding = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1).min(axis=1) * FPS
        assert np.median(sliding) < 0.1 * path


def test_sitting_lowers_the_pelvis_over_bent_knees():
    for subject in SUBJECTS:
        poses = motion(subject, "sit")
        lowest = joint(poses, "pelvis")[:, 2].argmin()
        assert joint(poses, "pelvis")[lowest, 2] < 0.65 < joint(poses, "pelvis")[:, 2].max()
        assert bend(poses, "left hip", "left knee", "left ankle")[lowest] > 60


def test_hands_stay_out_of_the_body(performances):
    for key, poses in performances.items():
        low, high = joint(poses, "pelvis"), joint(poses, "thorax")
        for side in SIDES:
            for share in (0.0, 0.5, 1.0):  # along the forearm
                point = (1 - share) * joint(poses, f"{side} elbow") + share * joint(poses, f"{side} wrist")
                along = ((point - low) * (high - low)).sum(-1) / ((high - low) ** 2).sum(-1)
                gap = np.linalg.norm(point - low - along.clip(0, 1)[:, None] * (high - low), axis=-1)
                assert gap.min() > 0.11, (key, side)


def test_actions_are_distinct(performances):
    """The pose that an action is known by differs from every other action's."""

    def signature(action: str) -> np.ndarray:
        angles = joint_angles("S1", action)
        values = np.array([angles[name] for name in LIMITS if name != "lift"])
        return np.concatenate([values.mean(axis=1), values.std(axis=1)])

    signatures = np.array([signature(action) for action in ACTIONS])
    distances = np.linalg.norm(signatures[:, None] - signatures[None], axis=-1)
    assert distances[np.triu_indices(len(ACTIONS), 1)].min() > 15  # degrees, over all angles
    assert len(ACTIONS) >= 12


def test_one_mean_pose_explains_little(performances):
    def upright(poses: np.ndarray) -> np.ndarray:
        return poses - poses[:, :1]

    every = np.concatenate([upright(poses)[::10] for poses in performances.values()])
    assert np.linalg.norm(every - every.mean(axis=0), axis=-1).mean() > 0.2  # metres


def test_same_arguments_give_the_same_motion_and_others_do_not():
    first = motion("S5", "walk")
    np.testing.assert_array_equal(first, motion("S5", "walk"))
    for other in (motion("S5", "walk", 1), motion("S6", "walk"), motion("S5", "run"), motion("S5", "walk", seed=1)):
        assert other.shape != first.shape or np.abs(other - first).max() > 0.01


def test_unknown_names_are_refused_with_a_hint():
    with pytest.raises(BenchError, match="Did you mean 'squat'"):
        motion("S1", "sqat")
    with pytest.raises(BenchError, match="No synthetic subject 'S2'"):
        motion("S2", "walk")


def test_fingerprint_depends_on_the_keypoints_and_not_on_the_folder():
    assert Synthetic().fingerprint(Path("a"), "gt") == Synthetic().fingerprint(Path("b"), "gt")
    assert Synthetic().fingerprint(Path("a"), "gt") != Synthetic().fingerprint(Path("a"), "det")


@pytest.fixture
def two_subjects(monkeypatch):
    monkeypatch.setattr(synthetic, "SUBJECTS", ("S1", "S9"))


def test_read_films_every_take_from_four_cameras(two_subjects):
    dataset = Synthetic().in_memory(Path("nowhere"), "gt")
    takes = sum(action.takes for action in ACTIONS.values())
    assert (dataset.name, dataset.keypoints, dataset.fps, dataset.fingerprint) == (
        "synthetic",
        "gt",
        50.0,
        Synthetic().fingerprint(Path(), "gt"),
    )
    assert len(dataset.sequences) == 2 * takes * 4
    assert {"walk", "walk 1", "sit"} <= set(dataset.sequences["sequence"])
    assert set(dataset.sequences["action"]) == set(ACTIONS)
    assert list(dict.fromkeys(dataset.sequences["subject"])) == ["S1", "S9"]
    assert dataset.keypoints_2d.abs().max() < 1.05  # in the picture, or nearly so


def test_detections_differ_from_the_truth_by_a_little(two_subjects):
    truth, seen = (Synthetic().in_memory(Path("nowhere"), keypoints) for keypoints in ("gt", "det"))
    assert truth.sequences.equals(seen.sequences)
    assert (truth.poses_3d == seen.poses_3d).all()
    missed_px = (truth.keypoints_2d - seen.keypoints_2d).norm(dim=-1) * 500
    assert 2 < missed_px.mean() < 8
