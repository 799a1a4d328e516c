"""The simulated detector errs by as much, as often and for as long as its settings say."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.mocap.detector import DIFFICULTY, Detector, detect
from bench.geometry.skeleton import H36M_17

FPS = 50.0
NOTHING = Detector(**dict.fromkeys(Detector.__dataclass_fields__, 0.0))
JOINTS = H36M_17.joints


def only(**settings: float) -> Detector:
    return Detector(**(dict.fromkeys(Detector.__dataclass_fields__, 0.0) | settings))


def still_person(frames: int) -> np.ndarray:
    """A person who stands still in an image of 1000 pixels; the box's diagonal is 500 pixels."""
    pose = np.random.default_rng(0).uniform((400, 300), (700, 700), (17, 2))
    pose[0], pose[1] = (400, 300), (700, 700)
    return np.broadcast_to(pose, (frames, 17, 2)).copy()


def errors(frames: int, settings: Detector, seed: int = 1) -> np.ndarray:
    truth = still_person(frames)
    return detect(truth, H36M_17, FPS, np.random.default_rng(seed), settings) - truth


def difficulty(joint: str) -> float:
    return DIFFICULTY[joint.split()[-1]]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_shape_and_type_are_those_of_the_input(kind):
    truth = still_person(7).astype(kind)
    seen = detect(truth, H36M_17, FPS, np.random.default_rng(0))
    assert (seen.shape, seen.dtype) == (truth.shape, kind)
    assert np.isfinite(seen).all()
    assert detect(truth[:0], H36M_17, FPS, np.random.default_rng(0)).shape == (0, 17, 2)


def test_zero_settings_change_nothing():
    truth = still_person(50)
    np.testing.assert_array_equal(detect(truth, H36M_17, FPS, np.random.default_rng(0), NOTHING), truth)


def test_the_generator_decides_and_the_input_is_left_alone():
    truth = still_person(100)
    before = truth.copy()
    first = detect(truth, H36M_17, FPS, np.random.default_rng(3))
    np.testing.assert_array_equal(first, detect(truth, H36M_17, FPS, np.random.default_rng(3)))
    assert np.abs(first - detect(truth, H36M_17, FPS, np.random.default_rng(4))).max() > 1
    np.testing.assert_array_equal(truth, before)


@pytest.mark.parametrize("setting", ["drift", "jitter"])
def test_noise_has_the_size_of_the_setting_for_every_joint(setting):
    noise = errors(40_000, only(**{setting: 0.01, "drift_seconds": 0.1}))
    for index, joint in enumerate(JOINTS):
        # Drift has 40000 / 10 independent draws an axis: 5 percent is more than three standard errors.
        assert noise[:, index].std() == pytest.approx(500 * 0.01 * difficulty(joint), rel=0.05), joint
    assert np.abs(noise.mean(axis=(0, 1))).max() < 0.3


def test_wrists_and_ankles_are_worse_than_hips():
    videos = np.concatenate([errors(100, Detector(swaps_per_second=0, occlusion_pull=0), seed) for seed in range(200)])
    by_name = dict(zip(JOINTS, videos.std(axis=(0, 2)), strict=True))
    for side in ("left", "right"):
        assert min(by_name[f"{side} wrist"], by_name[f"{side} ankle"]) > 1.2 * by_name[f"{side} hip"]


@pytest.mark.parametrize("seconds", [0.05, 0.2])
def test_drift_forgets_itself_after_its_time_constant(seconds):
    noise = errors(40_000, only(drift=0.01, drift_seconds=seconds)).reshape(40_000, -1)
    lag = round(seconds * FPS)
    correlation = (noise[lag:] * noise[:-lag]).mean() / (noise**2).mean()
    assert correlation == pytest.approx(np.exp(-lag / (seconds * FPS)), abs=0.03)


def test_jitter_is_new_in_every_frame():
    noise = errors(20_000, only(jitter=0.01)).reshape(20_000, -1)
    assert abs((noise[1:] * noise[:-1]).mean() / (noise**2).mean()) < 0.01


def test_bias_stays_for_the_video_and_differs_between_videos():
    settings = only(bias=0.01)
    videos = np.stack([errors(5, settings, seed) for seed in range(400)])
    assert np.ptp(videos, axis=1).max() < 1e-9
    for index, joint in enumerate(JOINTS):
        assert videos[:, 0, index].std() == pytest.approx(5 * difficulty(joint), rel=0.15), joint


def test_noise_grows_with_the_person():
    truth = still_person(200)
    small = detect(truth, H36M_17, FPS, np.random.default_rng(0), only(drift=0.01, drift_seconds=0.1)) - truth
    large = detect(3 * truth, H36M_17, FPS, np.random.default_rng(0), only(drift=0.01, drift_seconds=0.1)) - 3 * truth
    np.testing.assert_allclose(large, 3 * small, atol=1e-9)


def test_occlusions_hide_joints_as_often_and_as_long_as_set():
    frames, settings = 100_000, only(occlusions_per_second=0.5, occlusion_seconds=0.4, occlusion_error=0.05)
    hidden = np.linalg.norm(errors(frames, settings), axis=-1) > 0
    assert not hidden[:, H36M_17.root].any()
    # 1000 events: the expected share of time is rate x length, within 10 percent; rounding to frames adds little.
    assert hidden.sum() / frames == pytest.approx(0.5 * 0.4, rel=0.15)
    begins = (hidden[1:] & ~hidden[:-1]).sum()
    assert begins / (frames / FPS) == pytest.approx(0.5, rel=0.1)
    wrists, hips = (
        hidden[:, [JOINTS.index(f"{side} {end}") for side in ("left", "right")]].sum() for end in ("wrist", "hip")
    )
    assert wrists > hips


def test_hidden_joints_are_pulled_towards_their_parents():
    frames, settings = 20_000, only(occlusions_per_second=0.5, occlusion_seconds=0.4, occlusion_pull=0.6)
    moved, truth = errors(frames, settings), still_person(frames)
    for joint, parent in H36M_17.bones:
        bone = truth[0, parent] - truth[0, joint]
        share = moved[:, joint] @ bone / (bone @ bone)
        assert share.min() > -1e-9
        assert share.max() <= 0.6 + 1e-9
        np.testing.assert_allclose(moved[:, joint], share[:, None] * bone, atol=1e-9)
        assert share.max() > 0.1


def test_occlusions_swell_and_fade():
    moved = errors(20_000, only(occlusions_per_second=0.05, occlusion_seconds=1.0, occlusion_error=0.05))
    steps = np.linalg.norm(np.diff(moved, axis=0), axis=-1)
    assert np.quantile(steps[steps > 0], 0.9) < 0.2 * np.linalg.norm(moved, axis=-1).max()


def test_limbs_are_swapped_as_often_and_as_long_as_set():
    frames, truth = 100_000, still_person(100_000)
    seen = truth + errors(frames, only(swaps_per_second=0.5, swap_seconds=0.2))
    for limb in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
        left = [JOINTS.index(f"left {joint}") for joint in limb]
        right = [JOINTS.index(f"right {joint}") for joint in limb]
        swapped = np.isclose(seen[:, left], truth[:, right]).all(axis=(1, 2))
        straight = np.isclose(seen[:, left], truth[:, left]).all(axis=(1, 2))
        assert (swapped ^ straight).all()  # a limb is swapped whole or not at all
        assert swapped.mean() == pytest.approx(0.5 * 0.2, rel=0.2)
        assert (swapped[1:] & ~swapped[:-1]).sum() / (frames / FPS) == pytest.approx(0.5, rel=0.15)
    middle = [joint for joint in range(17) if joint not in H36M_17.left + H36M_17.right]
    np.testing.assert_allclose(seen[:, middle], truth[:, middle])


def test_defaults_miss_a_standing_person_by_about_five_pixels():
    missed = np.linalg.norm(np.concatenate([errors(500, Detector(), seed) for seed in range(20)]), axis=-1) * 430 / 500
    assert 4 < missed.mean() < 7


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"\(frames, 17, 2\)"):
        detect(still_person(3)[:, :5], H36M_17, FPS, np.random.default_rng(0))
    with pytest.raises(ValueError, match="jitter"):
        Detector(jitter=-0.1)
    with pytest.raises(ValueError, match="occlusion_pull"):
        Detector(occlusion_pull=1.5)
