"""Human3.6M's cameras film a motion: all of it is seen, nothing else about it changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.mocap import studio
from bench.data.pose_dataset import Builder, PoseDataset
from bench.geometry.camera import h36m_cameras, rotate
from bench.geometry.skeleton import H36M_17


def wander(seed: int = 0, frames: int = 40, reach: float = 3.0) -> np.ndarray:
    """A cloud of 17 joints at body height that crosses the floor. (frames, 17, 3) metres, z up."""
    rng = np.random.default_rng(seed)
    body = rng.uniform([-0.4, -0.4, 0.0], [0.4, 0.4, 1.8], (17, 3))
    path = np.concatenate([np.linspace([-reach, 7.0], [reach, 9.0], frames), np.zeros((frames, 1))], axis=1)
    return body + path[:, None]


def filmed(motion: np.ndarray, keypoints: str = "gt", seed: int = 0, subject: str = "02") -> PoseDataset:
    builder = Builder("test", keypoints, 50.0, "0" * 64)
    views = studio.film(
        builder.skeleton,
        builder.fps,
        subject=subject,
        action="walk",
        sequence="walk 01",
        motion=motion,
        keypoints=keypoints,
        seed=seed,
    )
    for video in views:
        builder.add(video)
    return builder.build()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), reach=st.floats(0, 20))
def test_every_joint_of_every_frame_is_inside_the_image(seed, reach):
    dataset = filmed(wander(seed, reach=reach), seed=seed)
    x, y = dataset.keypoints_2d.unbind(-1)
    assert x.abs().max() < 1
    assert y.abs().max() < 1
    depth = dataset.poses_3d[..., 2] + dataset.roots[:, None, 2]
    assert depth.min() >= studio.NEAREST - 1e-5


def test_a_camera_steps_back_no_further_than_it_must():
    motion = wander(reach=10.0)
    camera = h36m_cameras()["S1"][0]
    motion = studio.stage(motion, 0.3, studio.sight(h36m_cameras()["S1"]))
    moved = studio.step_back(camera, motion)
    rays = moved.to_camera(motion)
    flat = rays[..., :2] / rays[..., 2:] * moved.intrinsics[:2] + moved.intrinsics[2:4]
    border = np.abs(flat).max(axis=(0, 1)) / [1, camera.height / camera.width]
    assert border.max() == pytest.approx(studio.MARGIN, abs=1e-6)  # the quaternions are float32
    forward = rotate(np.array([0.0, 0.0, 1.0]), camera.orientation)
    step = np.array(moved.translation) - camera.translation
    assert np.linalg.norm(np.cross(forward, step)) < 1e-9
    assert forward @ step < 0


def test_a_camera_that_sees_everything_stays():
    camera = h36m_cameras()["S1"][0]
    motion = studio.stage(wander(reach=0.1), 0.0, studio.sight(h36m_cameras()["S1"]))
    assert studio.step_back(camera, motion).translation == pytest.approx(camera.translation, abs=1e-12)


@pytest.mark.parametrize("subject", sorted(h36m_cameras()))
def test_the_cameras_of_every_rig_look_at_one_spot_in_their_midst(subject):
    rig = h36m_cameras()[subject]
    spot = studio.sight(rig)
    for camera in rig:
        forward = rotate(np.array([0.0, 0.0, 1.0]), camera.orientation)[:2]
        to_spot = spot - camera.translation[:2]
        cosine = forward @ to_spot / np.linalg.norm(forward) / np.linalg.norm(to_spot)
        assert cosine > 0.98
        assert 2 < np.linalg.norm(to_spot) < 8


def test_staging_keeps_shape_and_heights_and_puts_the_middle_on_the_spot():
    motion = wander()
    staged = studio.stage(motion, heading=1.234, centre=np.array([0.5, -2.0]))
    np.testing.assert_allclose(staged[..., 2], motion[..., 2])
    gaps = np.linalg.norm(motion[0, :, None] - motion[-1, None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(staged[0, :, None] - staged[-1, None], axis=-1), gaps)
    floor = staged[..., :2].reshape(-1, 2)
    np.testing.assert_allclose((floor.min(axis=0) + floor.max(axis=0)) / 2, [0.5, -2.0])
    turn = np.cross(motion[-1, 0] - motion[0, 0], staged[-1, 0] - staged[0, 0])
    assert turn[2] > 0, "a positive heading turns counter-clockwise seen from above"


def test_views_are_the_same_motion_in_rigid_axes():
    motion = wander()
    dataset = filmed(motion)
    assert list(dataset.sequences["camera"]) == [camera.name for camera in h36m_cameras()["S1"]]
    poses = dataset.poses_3d.numpy().reshape(4, len(motion), 17, 3)
    lengths = np.linalg.norm(motion - motion[:, :1], axis=-1)
    for view in poses:
        np.testing.assert_allclose(np.linalg.norm(view, axis=-1), lengths, atol=1e-5)


def test_seed_and_names_decide_the_views_and_nothing_else():
    motion = wander()
    again, first = filmed(motion), filmed(motion)
    assert (again.keypoints_2d == first.keypoints_2d).all()
    assert not (filmed(motion, seed=1).keypoints_2d == first.keypoints_2d).all()
    assert not (filmed(motion, subject="03").keypoints_2d == first.keypoints_2d).all()
    rigs = {studio.generator(0, str(subject), "walk 01").integers(7) for subject in range(60)}
    assert rigs == set(range(7))


def test_detections_differ_from_the_projection_in_2d_only(monkeypatch):
    def detect(keypoints_px, skeleton, fps, rng):
        assert skeleton is H36M_17
        assert fps == 50.0
        return keypoints_px + rng.normal(0, 3, keypoints_px.shape)

    monkeypatch.setattr(studio, "detect", detect)
    motion = wander()
    exact, seen, again = filmed(motion), filmed(motion, "det"), filmed(motion, "det")
    assert (exact.poses_3d == seen.poses_3d).all()
    assert (exact.roots == seen.roots).all()
    assert (seen.keypoints_2d == again.keypoints_2d).all()
    noise_px = ((seen.keypoints_2d - exact.keypoints_2d) * 500).reshape(4, -1)
    assert 2.5 < noise_px.std() < 3.5
    assert abs(np.corrcoef(noise_px.numpy())[0, 1]) < 0.2, "each camera has noise of its own"


@pytest.mark.parametrize("broken", [np.zeros((0, 17, 3)), np.zeros((5, 16, 3)), np.full((5, 17, 3), np.nan)])
def test_a_motion_that_is_none_is_refused(broken):
    with pytest.raises(ValueError, match="walk 01"):
        filmed(broken)
