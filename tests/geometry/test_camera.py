"""Cameras against numbers of the published data preparation, and the geometry they must obey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.geometry.camera import (
    camera_to_world,
    denormalise_screen,
    h36m_cameras,
    normalise_screen,
    project,
    rotate,
    world_to_camera,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "camera.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def views(golden):
    """(row, camera) of the 28 subject-camera pairs."""
    return [
        (row, next(camera for camera in h36m_cameras()[subject] if camera.name == name))
        for row, (subject, name) in enumerate(zip(golden["subjects"], golden["camera_ids"], strict=True))
    ]


def test_seven_rigs_of_four_cameras_in_the_order_of_the_2d_files(golden, views):
    assert [(subject, camera.name) for subject, rig in h36m_cameras().items() for camera in rig] == list(
        zip(golden["subjects"], golden["camera_ids"], strict=True)
    )
    for row, camera in views:
        np.testing.assert_allclose(camera.intrinsics, golden["intrinsic"][row], rtol=1e-6, atol=1e-8)


def test_the_float64_route_matches_the_published_formulas(golden, views):
    for row, camera in views:
        points = camera.to_camera(golden["world"][row])
        np.testing.assert_allclose(points, golden["camera"][row], rtol=1e-9, atol=1e-9)
        intrinsics = golden["intrinsic"][row]
        distorted, flat = project(points, intrinsics), project(points, intrinsics, distort=False)
        np.testing.assert_allclose(distorted, golden["norm_distorted"][row], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(flat, golden["norm_undistorted"][row], rtol=1e-9, atol=1e-9)
        pixels = denormalise_screen(distorted, camera.width, camera.height)
        np.testing.assert_allclose(pixels, golden["pixel_distorted"][row], rtol=1e-9)
        np.testing.assert_allclose(camera.project(points), distorted, atol=1e-6)  # its own intrinsics


def test_the_float32_route_matches_the_published_files(golden, views):
    for row, camera in views:
        points = camera.to_camera(golden["world"][row].astype(np.float32))
        assert points.dtype == np.float32
        np.testing.assert_allclose(points, golden["camera_f32"][row], atol=1e-5)
        pixels = denormalise_screen(camera.project(golden["camera_f32"][row]), camera.width, camera.height)
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels, golden["pixel_distorted_f32"][row], atol=2e-3)


def test_rays_beyond_90_degrees_are_clipped(golden):
    points, intrinsics = golden["clamp_camera"], golden["clamp_intrinsic"]
    assert (np.abs(points[:, :2] / points[:, 2:]) > 1).any()
    np.testing.assert_allclose(project(points, intrinsics), golden["clamp_norm_distorted"], rtol=1e-9)
    np.testing.assert_allclose(project(points, intrinsics, distort=False), golden["clamp_norm_undistorted"], rtol=1e-9)


def test_quaternions_turn_as_published(golden):
    for quaternion, vector, turned, back in zip(
        golden["quat"], golden["quat_vec"], golden["quat_rotated"], golden["quat_inverse_rotated"], strict=True
    ):
        np.testing.assert_allclose(rotate(vector, quaternion), turned, atol=1e-12)
        np.testing.assert_allclose(world_to_camera(vector, quaternion, np.zeros(3)), back, atol=1e-12)


@pytest.mark.parametrize(("width", "height"), [(2048, 2048), (1920, 1080), (1000, 1002)])
def test_both_screen_axes_are_divided_by_the_width(golden, width, height):
    pixels = golden["screen_pixel"]
    normalised = normalise_screen(pixels, width, height)
    np.testing.assert_allclose(normalised, golden[f"screen_norm_{width}x{height}"], atol=1e-12)
    np.testing.assert_allclose(denormalise_screen(normalised, width, height), pixels, rtol=1e-12)
    corners = np.array([[0.0, 0.0], [width, height]])
    np.testing.assert_allclose(normalise_screen(corners, width, height), [[-1, -height / width], [1, height / width]])


@given(seed=st.integers(0, 2**32 - 1), single=st.booleans())
def test_to_the_world_and_back_is_where_one_was(seed, single):
    kind = np.float32 if single else np.float64
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 3, (4, 5, 3)).astype(kind)
    quaternion = rng.normal(size=4)
    quaternion /= np.linalg.norm(quaternion)
    centre = rng.normal(0, 3, 3)
    there = world_to_camera(points, quaternion, centre)
    assert there.dtype == kind
    np.testing.assert_allclose(camera_to_world(there, quaternion, centre), points, atol=1e-5 if single else 1e-12)
    # Rigid: distances stay.
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(there, axis=0), axis=-1),
        np.linalg.norm(np.diff(points, axis=0), axis=-1),
        atol=1e-5 if single else 1e-12,
    )


def test_a_camera_looks_forward_and_stands_at_its_translation():
    for rig in h36m_cameras().values():
        for camera in rig:
            here = np.array(camera.translation)
            np.testing.assert_allclose(camera.to_camera(here), 0, atol=1e-12)
            ahead = camera.to_world(np.array([0.0, 0.0, 5.0]))
            assert np.linalg.norm(ahead[:2]) < 2.5, "five metres ahead is the middle of the studio"
            up = camera.to_camera(here + np.eye(3)[2])
            assert up[1] < -0.9, "the camera's y points down"


def test_a_moved_camera_keeps_lens_and_direction():
    camera = h36m_cameras()["S9"][2]
    moved = camera.moved_to(np.array([1, 2, 3], np.float32))
    assert moved.translation == (1.0, 2.0, 3.0)
    assert moved.orientation == camera.orientation
    np.testing.assert_array_equal(moved.intrinsics, camera.intrinsics)
