"""What all drawings have in common: colours, the view, the size of the space around a person."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.geometry.skeleton import Skeleton

Array = NDArray[Any]

LEFT, RIGHT, TRUNK = "#2b7bba", "#e4572e", "#333b47"
GHOST, EDGES, LINES, FLOOR = "#aeb6c1", "#d5dae1", "#e3e7ec", "#f7f9fa"
SIDES = "left side blue, right side orange"
CURVES = ("#7a4fa3", "#1b998b", "#c9910a", "#c2185b", "#5d737e")  # of methods: none is the colour of left or right
SIDE = 1.7  # metres: the cube around the root
GRID = 0.5  # metres between its lines
ELEVATION, AZIMUTH = 15, -70  # degrees, as matplotlib's: seen from a little above and from the camera's right


def colour(joint: int, skeleton: Skeleton) -> str:
    """The colour of a joint, and of the bone that leads to it."""
    return LEFT if joint in skeleton.left else RIGHT if joint in skeleton.right else TRUNK


def upright(poses: Array, skeleton: Skeleton | None = None) -> Array:
    """Camera axes (x right, y down, z forward) to x right, y away, z up. (..., joints, 3), about the root if given."""
    if skeleton is not None:
        poses = poses - poses[..., skeleton.root : skeleton.root + 1, :]
    turned: Array = np.stack([poses[..., 0], poses[..., 2], -poses[..., 1]], axis=-1)
    return turned
