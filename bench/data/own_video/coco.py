"""From COCO's 17 keypoints, which 2D detectors find, to Human3.6M's 17 joints, which lifters read.

Hips, knees, ankles, shoulders, elbows and wrists are the same joints. The others are combined from nearby keypoints:

    pelvis = middle of the hips                    thorax = middle of the shoulders
    spine  = middle of pelvis and thorax           neck   = thorax + 2/3 (nose - thorax)
    head   = thorax + 9/8 (middle of eyes and ears - thorax)

The last two were chosen by hand, so that a body of usual proportions gets about the lengths that Human3.6M's skeletons
have from thorax to neck (12 cm) and on to head (12 cm). A detector's joints lie elsewhere than those of motion capture,
hips above all: no formula corrects that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.geometry.skeleton import COCO_17, H36M_17

Array = NDArray[Any]

HEAD = ("left eye", "right eye", "left ear", "right ear")
FACE = ("nose", *HEAD)

_PELVIS = {"left hip": 1 / 2, "right hip": 1 / 2}
_THORAX = {"left shoulder": 1 / 2, "right shoulder": 1 / 2}
_MADE = {
    "pelvis": _PELVIS,
    "spine": {joint: share / 2 for joint, share in (_PELVIS | _THORAX).items()},
    "thorax": _THORAX,
    "neck": {joint: share / 3 for joint, share in _THORAX.items()} | {"nose": 2 / 3},
    "head": {joint: -share / 8 for joint, share in _THORAX.items()} | dict.fromkeys(HEAD, 9 / 8 / len(HEAD)),
}


def _shares() -> Array:
    """(17, 17): the weight of each COCO keypoint in each Human3.6M joint."""
    shares = np.zeros((len(H36M_17), len(COCO_17)))
    for row, joint in enumerate(H36M_17.joints):
        for keypoint, share in _MADE.get(joint, {joint: 1.0}).items():
            shares[row, COCO_17.joints.index(keypoint)] = share
    return shares


def to_h36m(keypoints_2d: Array) -> Array:
    """(..., 17, 2) in COCO's order to (..., 17, 2) in Human3.6M's, in the same unit."""
    return np.asarray(_shares() @ keypoints_2d)


def touched(keypoints: Array) -> Array:
    """Which of Human3.6M's joints depend on any of these COCO keypoints: (..., 17) bool to (..., 17) bool."""
    return np.asarray(keypoints @ (_shares() != 0).T)
