"""From COCO's keypoints to Human3.6M's joints."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.own_video import coco
from bench.geometry.skeleton import COCO_17, H36M_17

# A person seen from the front, y down, as a drawing in whole numbers.
BODY = {
    "nose": (0, -15), "left eye": (2, -18), "right eye": (-2, -18), "left ear": (4, -14), "right ear": (-4, -14),
    "left shoulder": (20, 0), "right shoulder": (-20, 0), "left elbow": (25, 30), "right elbow": (-25, 30),
    "left wrist": (25, 60), "right wrist": (-25, 60), "left hip": (12, 60), "right hip": (-12, 64),
    "left knee": (12, 100), "right knee": (-12, 100), "left ankle": (12, 140), "right ankle": (-12, 140),
}  # fmt: skip


def test_joints_are_made_as_documented():
    keypoints = np.array([BODY[joint] for joint in COCO_17.joints], float)
    made = dict(zip(H36M_17.joints, coco.to_h36m(np.stack([keypoints, keypoints + 7]))[1] - 7, strict=True))
    expected = {joint: BODY[joint] for joint in H36M_17.joints if joint in BODY} | {
        "pelvis": (0, 62), "thorax": (0, 0), "spine": (0, 31), "neck": (0, -10), "head": (0, -18),
    }  # fmt: skip
    assert made.keys() == expected.keys()
    for joint, place in expected.items():
        np.testing.assert_allclose(made[joint], place, atol=1e-12, err_msg=joint)


@pytest.mark.parametrize(
    ("keypoint", "joints"),
    [
        ("left wrist", {"left wrist"}),
        ("left hip", {"left hip", "pelvis", "spine"}),
        ("right shoulder", {"right shoulder", "thorax", "spine", "neck", "head"}),
        ("nose", {"neck"}),
        ("right ear", {"head"}),
    ],
)
def test_what_is_made_of_a_keypoint_is_touched_by_it(keypoint, joints):
    one = np.array([[joint == keypoint for joint in COCO_17.joints], [False] * 17])
    touched = coco.touched(one)
    assert touched.dtype == bool
    assert {joint for joint, marked in zip(H36M_17.joints, touched[0], strict=True) if marked} == joints
    assert not touched[1].any()


def test_the_mirror_image_of_what_is_made_is_made_of_the_mirror_image():
    keypoints = np.random.default_rng(0).normal(size=(17, 2))
    mirrored = keypoints[list(COCO_17.mirror)] * [-1, 1]
    np.testing.assert_allclose(coco.to_h36m(mirrored), coco.to_h36m(keypoints)[list(H36M_17.mirror)] * [-1, 1])
