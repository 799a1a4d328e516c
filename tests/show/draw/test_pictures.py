"""Pictures are written whole, show every panel in left and right colours, and refuse other shapes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from bench.geometry.skeleton import H36M_17
from bench.show.draw import LEFT, RIGHT, TRUNK, contact_sheet, skeleton_picture, upright


@pytest.fixture(scope="module")
def pose() -> np.ndarray:
    """A person facing the camera: the right side lies at negative x, the head at negative y."""
    half = {"hip": (0.13, 0), "knee": (0.14, 0.45), "ankle": (0.14, 0.9)}
    half |= {"shoulder": (0.15, -0.48), "elbow": (0.25, -0.22), "wrist": (0.3, 0.02)}
    trunk = {"pelvis": 0.0, "spine": -0.24, "thorax": -0.5, "neck": -0.6, "head": -0.72}
    points = []
    for joint in H36M_17.joints:
        side, _, name = joint.partition(" ")
        x, y = (half[name][0] * (1 if side == "left" else -1), half[name][1]) if name else (0.0, trunk[joint])
        points.append((x, y, 4.0))
    return np.array(points)


def pixels_of(path: Path, colour: str) -> np.ndarray:
    """(pixels, 2) columns and rows of the pixels that have a colour."""
    image = imread(path)[..., :3]
    rows, columns = np.nonzero(np.abs(image - to_rgb(colour)).max(axis=-1) < 0.02)
    return np.column_stack([columns, rows])


def test_a_picture_has_one_panel_a_pose_beside_the_input(tmp_path, pose):
    for count in (1, 2, 3):
        poses = {f"pose {index}": pose for index in range(count)}
        skeleton_picture(tmp_path / "with.png", poses, keypoints_2d=pose[:, :2], title="S1 walk")
        skeleton_picture(tmp_path / "without.png", poses)
        widths = [imread(tmp_path / name).shape[1] for name in ("with.png", "without.png")]
        assert widths[0] == pytest.approx((count + 1) / count * widths[1], abs=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["with.png", "without.png"]  # nothing unfinished


def test_left_is_blue_right_is_orange_and_the_head_is_up(tmp_path, pose):
    path = tmp_path / "facing.png"
    skeleton_picture(path, {"": pose})
    left, right, trunk = (pixels_of(path, colour) for colour in (LEFT, RIGHT, TRUNK))
    assert min(len(left), len(right), len(trunk)) > 30
    assert right[:, 0].mean() < left[:, 0].mean()  # a person who faces us has the right hand on our left
    assert trunk[:, 1].mean() < left[:, 1].mean()  # rows run down: trunk and head lie above the middle of the limbs


def test_the_input_is_drawn_with_y_down(tmp_path, pose):
    path = tmp_path / "input.png"
    skeleton_picture(path, {"far away": np.zeros((17, 3))}, keypoints_2d=pose[:, :2] * 300 + 500)
    panel = imread(path).shape[1] // 2
    trunk, left = (pixels_of(path, colour) for colour in (TRUNK, LEFT))
    trunk, left = trunk[trunk[:, 0] < panel], left[left[:, 0] < panel]
    assert np.median(trunk[:, 1]) < np.median(left[:, 1])


def test_poses_are_drawn_about_their_roots_with_z_up(pose):
    turned = upright(pose + 7.0, H36M_17)
    np.testing.assert_allclose(turned, upright(pose, H36M_17), atol=1e-12)
    np.testing.assert_allclose(turned[H36M_17.joints.index("head")], (0, 0, 0.72), atol=1e-12)
    np.testing.assert_allclose(upright(np.eye(3)), [(1, 0, 0), (0, 0, -1), (0, 1, 0)])


def test_a_contact_sheet_has_as_many_rows_as_it_needs(tmp_path, pose):
    contact_sheet(tmp_path / "sheet.png", {str(index): pose for index in range(5)}, columns=3, title="poses")
    contact_sheet(tmp_path / "row.png", {str(index): pose for index in range(3)}, columns=3, title="poses")
    sheet, row = imread(tmp_path / "sheet.png"), imread(tmp_path / "row.png")
    assert sheet.shape[1] == row.shape[1]
    assert sheet.shape[0] > 1.7 * row.shape[0]


def test_other_formats_follow_from_the_suffix(tmp_path, pose):
    skeleton_picture(tmp_path / "pose.svg", {"pose": pose})
    assert "<svg" in (tmp_path / "pose.svg").read_text(encoding="utf-8")


def test_other_shapes_are_refused_and_leave_no_file(tmp_path, pose):
    with pytest.raises(ValueError, match="no pose"):
        skeleton_picture(tmp_path / "x.png", {})
    with pytest.raises(ValueError, match=r"bad: \(16, 3\)"):
        contact_sheet(tmp_path / "x.png", {"bad": pose[:16]})
    with pytest.raises(ValueError, match="keypoints_2d"):
        skeleton_picture(tmp_path / "x.png", {"pose": pose}, keypoints_2d=pose)
    assert not list(tmp_path.iterdir())


def test_importing_the_module_does_not_import_matplotlib():
    code = "import sys, bench.show.draw; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
