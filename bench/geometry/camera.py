"""Cameras: world to camera axes and back, projection with lens distortion, screen normalisation.

Conventions (Human3.6M; Ionescu et al., TPAMI 2014): world in metres, z up; camera axes x right, y down, z forward.
Every function keeps the float type of its points, so float32 data are computed in float32, as in the community's files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class View:
    """A camera of which only the image size is known. Width and height in pixels."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Camera(View):
    """One calibrated view. Pixels for the intrinsics, metres for the centre."""

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    radial: tuple[float, float, float]
    tangential: tuple[float, float]  # (p_x, p_y)
    orientation: tuple[float, float, float, float]  # unit quaternion (w, x, y, z): camera axes -> world axes
    translation: tuple[float, float, float]  # the camera's centre in the world, metres

    @property
    def intrinsics(self) -> Array:
        """(9,): focal length, centre (both for normalised screen coordinates), k1..k3, p_x, p_y."""
        centre = normalise_screen(np.array(self.centre_px), self.width, self.height)
        focal = np.array(self.focal_px) / self.width * 2
        return np.concatenate([focal, centre, self.radial, self.tangential])

    def to_camera(self, points_world: Array) -> Array:
        """World to camera axes. (..., 3) metres to (..., 3) metres."""
        return world_to_camera(points_world, self.orientation, self.translation)

    def to_world(self, points_camera: Array) -> Array:
        """Camera axes to world. (..., 3) metres to (..., 3) metres."""
        return camera_to_world(points_camera, self.orientation, self.translation)

    def project(self, points_camera: Array) -> Array:
        """(..., 3) metres in camera axes to (..., 2) normalised screen coordinates."""
        return project(points_camera, self.intrinsics)

    def moved_to(self, translation: Array) -> Camera:
        """The same camera at another position. translation: (3,) metres."""
        return replace(self, translation=(float(translation[0]), float(translation[1]), float(translation[2])))


def rotate(points: Array, quaternion: Any) -> Array:
    """Turn points by a unit quaternion (w, x, y, z). (..., 3) to (..., 3)."""
    w, *xyz = np.asarray(quaternion, points.dtype)
    axis = np.broadcast_to(np.asarray(xyz, points.dtype), points.shape)
    once = np.cross(axis, points)
    turned: Array = points + points.dtype.type(2) * (w * once + np.cross(axis, once))
    return turned


def _inverse(quaternion: Any) -> Array:
    return np.asarray(np.asarray(quaternion) * np.array([1, -1, -1, -1]))


def world_to_camera(points_world: Array, orientation: Any, translation: Any) -> Array:
    """X_cam = R^-1 (X_world - C). Points (..., 3) and the centre C in metres; orientation (w, x, y, z)."""
    points = points_world - np.asarray(translation, points_world.dtype)
    return rotate(points, _inverse(orientation))


def camera_to_world(points_camera: Array, orientation: Any, translation: Any) -> Array:
    """X_world = R X_cam + C, the inverse of `world_to_camera`."""
    moved: Array = rotate(points_camera, orientation) + np.asarray(translation, points_camera.dtype)
    return moved


def project(points_camera: Array, intrinsics: Array, distort: bool = True) -> Array:
    """Pinhole projection with Human3.6M's lens model. (..., 3) metres to (..., 2) normalised screen coordinates.

    intrinsics: (9,) as `Camera.intrinsics`. The tangential term enters once, where OpenCV's model has it twice.
    Ray slopes are clipped to [-1, 1] (a view of 90 degrees), as in the community's files.
    """
    values = np.asarray(intrinsics, points_camera.dtype)
    focal, centre, radial, tangential = values[:2], values[2:4], values[4:7], values[7:]
    rays = np.clip(points_camera[..., :2] / points_camera[..., 2:], -1, 1)
    if not distort:
        return np.asarray(focal * rays + centre)
    r2 = (rays**2).sum(axis=-1, keepdims=True)
    growth = 1 + (radial * np.concatenate([r2, r2**2, r2**3], axis=-1)).sum(axis=-1, keepdims=True)
    skew = (tangential * rays).sum(axis=-1, keepdims=True)
    return np.asarray(focal * (rays * (growth + skew) + tangential * r2) + centre)


def normalise_screen(points_pixels: Array, width: int, height: int) -> Array:
    """Pixels to coordinates where x spans [-1, 1]; y is divided by the width too. (..., 2) to (..., 2)."""
    kind = points_pixels.dtype.type
    return np.asarray(points_pixels / kind(width) * kind(2) - np.array([1, height / width], kind))


def denormalise_screen(points_normalised: Array, width: int, height: int) -> Array:
    """The inverse of `normalise_screen`. (..., 2) to (..., 2) pixels."""
    kind = points_normalised.dtype.type
    return np.asarray((points_normalised + np.array([1, height / width], kind)) * kind(width) / kind(2))


@cache
def h36m_cameras() -> dict[str, tuple[Camera, ...]]:
    """The four cameras of each annotated Human3.6M subject, in the order of the community's 2D files."""
    stored = json.loads((Path(__file__).with_name("h36m_cameras.json")).read_text(encoding="utf-8"))
    rigs: dict[str, tuple[Camera, ...]] = {}
    for subject, views in stored["extrinsics"].items():
        rig = []
        for name in stored["camera_order"]:
            lens, pose = stored["intrinsics"][name], views[name]
            x, y, z = (millimetres / 1000 for millimetres in pose["translation_mm"])
            rig.append(
                Camera(
                    name=name,
                    width=lens["res_w"],
                    height=lens["res_h"],
                    focal_px=tuple(lens["focal_length"]),
                    centre_px=tuple(lens["center"]),
                    radial=tuple(lens["radial_distortion"]),
                    tangential=tuple(lens["tangential_distortion"]),
                    orientation=tuple(pose["orientation"]),
                    translation=(x, y, z),
                )
            )
        rigs[subject] = tuple(rig)
    return rigs
