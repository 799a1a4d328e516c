"""Simulated cameras: recorded motion is projected into the four cameras of a Human3.6M subject.

Lenses and viewing directions are the real ones; only the cameras' positions are made up. A motion may need more floor
than the Human3.6M studio has, so each camera steps back along its optical axis until it sees all of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.mocap.detector import detect
from bench.data.pose_dataset import Video
from bench.geometry.camera import Camera, denormalise_screen, h36m_cameras, rotate
from bench.geometry.skeleton import Skeleton

Array = NDArray[Any]

MARGIN = 0.92  # share of the half image within which all joints must lie
NEAREST = 1.0  # metres: no joint comes closer to a camera
# The cameras by name, for their lenses only: these are the same in all seven rigs, the positions are not.
LENSES = {camera.name: camera for camera in h36m_cameras()["S1"]}


def film(
    skeleton: Skeleton,
    fps: float,
    *,
    subject: str,
    action: str,
    sequence: str,
    motion: Array,
    keypoints: Literal["gt", "det"],
    seed: int,
) -> Iterator[Video]:
    """The four views of one motion.

    motion: (frames, joints, 3) metres, world axes, z up. The rig (one of Human3.6M's seven) and the heading are
    determined by seed, subject and sequence alone, so "gt" and "det" show the same views. "gt": 2D is the exact
    projection. "det": the simulated detector sees it, with noise determined by seed, subject, sequence and camera.
    Raises ValueError if the motion is empty, not finite, or of other joints than the skeleton's.
    """
    if motion.shape[1:] != (len(skeleton), 3) or not len(motion) or not np.isfinite(motion).all():
        raise ValueError(f"{subject} {sequence!r}: motion is {motion.shape}, or not finite")
    if keypoints not in ("gt", "det"):
        raise ValueError(f"keypoints must be 'gt' or 'det', not {keypoints!r}")
    rng = generator(seed, subject, sequence)
    rig = list(h36m_cameras().values())[rng.integers(len(h36m_cameras()))]
    staged = stage(np.asarray(motion, np.float64), heading=rng.uniform(0, 2 * np.pi), centre=sight(rig))
    for camera in rig:
        camera = step_back(camera, staged)
        poses = camera.to_camera(staged)
        pixels = denormalise_screen(camera.project(poses), camera.width, camera.height)
        if keypoints == "det":
            pixels = detect(pixels, skeleton, fps, generator(seed, subject, sequence, camera.name))
        yield Video(subject, action, sequence, camera, pixels.astype(np.float32), poses.astype(np.float32))


def sight(rig: tuple[Camera, ...]) -> Array:
    """The spot on the floor that the cameras look at: (2,) metres, nearest to all optical axes seen from above."""
    centres = np.array([camera.translation[:2] for camera in rig])
    axes = np.array([rotate(np.array([0.0, 0.0, 1.0]), camera.orientation)[:2] for camera in rig])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    across = np.eye(2) - axes[:, :, None] * axes[:, None, :]  # removes the part of an offset along each axis
    spot: Array = np.linalg.solve(across.sum(axis=0), np.einsum("cij,cj->i", across, centres))
    return spot


def stage(motion: Array, heading: float, centre: Array) -> Array:
    """Turn a motion about the vertical by `heading` radians and put the middle of its floor area at `centre`.

    motion: (frames, joints, 3) metres, z up; centre: (2,) metres. Heights stay as they are.
    """
    cos, sin = np.cos(heading), np.sin(heading)
    staged = motion @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    floor = staged[..., :2].reshape(-1, 2)
    staged[..., :2] += centre - (floor.min(axis=0) + floor.max(axis=0)) / 2
    return np.asarray(staged)


def step_back(camera: Camera, motion: Array) -> Camera:
    """The camera moved back along its axis by the least distance at which it sees every joint of every frame.

    motion: (frames, joints, 3) metres, world axes. Computed without lens distortion, which pulls the corners of
    the image inwards.
    """
    x, y, z = np.moveaxis(camera.to_camera(motion), -1, 0)
    focal, principal = camera.intrinsics[:2], camera.intrinsics[2:4]
    half = MARGIN * np.array([1, camera.height / camera.width])
    # Slopes of the rays through the borders: a joint is inside when -low <= x / (z + back) <= high.
    (low_x, low_y), (high_x, high_y) = (half + principal) / focal, (half - principal) / focal
    needed = [x / high_x, -x / low_x, y / high_y, -y / low_y, np.full_like(z, NEAREST)]
    back = max(0.0, float((np.max(needed, axis=0) - z).max()))
    return camera.moved_to(camera.to_world(np.array([0.0, 0.0, -back])))


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator determined by a seed and names, the same on every machine."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
