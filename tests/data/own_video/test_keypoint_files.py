"""Files of 2D keypoints: one made-up video in the form of each detector, and files that are something else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.own_video.keypoint_files import read_keypoints
from bench.geometry.skeleton import COCO_17, H36M_17
from bench.system.errors import BenchError, MissingDataError

FRAMES = 4
POINTS = np.random.default_rng(3).uniform(10, 400, (FRAMES, 2, 17, 2)).round(2)  # frame, person, keypoint
SCORES = np.random.default_rng(4).uniform(0.4, 1, (FRAMES, 2, 17)).round(3)
SIZE = {"width": 640, "height": 480}


def flat(frame: int, person: int) -> list[float]:
    return np.column_stack([POINTS[frame, person], SCORES[frame, person]]).ravel().tolist()


def people(entry: Callable[[int, int], dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry(frame, person) for frame in range(FRAMES) for person in (0, 1)]


def alphapose(frame: int, person: int) -> dict[str, Any]:
    box = [1.0, 2.0, 3.0, 4.0]
    name = f"{frame}.jpg"
    return {
        "image_id": name,
        "category_id": 1,
        "keypoints": flat(frame, person),
        "score": 2.9,
        "box": box,
        "idx": person,
    }


def detectron2(frame: int, person: int) -> dict[str, Any]:
    return {"image_id": frame, "category_id": 1, "keypoints": flat(frame, person), "score": 0.98, "bbox": [1, 2, 3, 4]}


def mmpose(frame: int) -> dict[str, Any]:
    instances = [
        {
            "keypoints": POINTS[frame, person].tolist(),
            "keypoint_scores": SCORES[frame, person].tolist(),
            "bbox": [[1.0, 2.0, 3.0, 4.0]],
            "bbox_score": 0.9,
        }
        for person in (0, 1)
    ]
    return {"frame_id": frame, "instances": instances}


MMPOSE = [mmpose(frame) for frame in range(FRAMES)]
FORMATS = {
    "AlphaPose": people(alphapose),
    "AlphaPose, PoseFlow": people(lambda frame, person: alphapose(frame, person) | {"idx": [[float(person)], 3]}),
    "AlphaPose, padded names": people(lambda *who: alphapose(*who) | {"image_id": f"out2/frame_{who[0]:06d}.png"}),
    "Detectron2": people(detectron2),
    "MMPose": MMPOSE,
    "MMPose, with meta_info": {"meta_info": {"dataset_name": "coco"}, "instance_info": MMPOSE},
}


@pytest.mark.parametrize("content", FORMATS.values(), ids=FORMATS)
def test_what_detectors_write_is_read_back(tmp_path, content):
    (tmp_path / "k.json").write_text(json.dumps(content))
    found = read_keypoints(tmp_path / "k.json")
    assert found.layout == COCO_17
    assert (found.width, found.height, found.fps) == (None, None, None)
    assert list(found.frames) == list(range(FRAMES))
    tracked = "idx" in json.dumps(content)
    for frame, seen in found.frames.items():
        assert [one.track for one in seen] == (["0", "1"] if tracked else [None, None])
        for person, one in enumerate(seen):
            np.testing.assert_array_equal(one.keypoints[:, :2], POINTS[frame, person])
            np.testing.assert_array_equal(one.keypoints[:, 2], SCORES[frame, person])


def test_mmpose_keeps_frames_without_people_and_says_where_joints_are_human36ms(tmp_path):
    empty = {"frame_id": FRAMES, "instances": []}
    content = {"meta_info": {"dataset_name": "h36m"}, "instance_info": [*MMPOSE, empty]}
    (tmp_path / "k.json").write_text(json.dumps(content))
    found = read_keypoints(tmp_path / "k.json")
    assert found.layout == H36M_17
    assert found.frames[FRAMES] == []


@pytest.mark.parametrize("scored", [False, True])
def test_plain_arrays(tmp_path, scored):
    keypoints = np.concatenate([POINTS[:, 0], SCORES[:, 0, :, None]], axis=-1)[..., : 3 if scored else 2]
    keypoints[2] = np.nan
    keypoints[3, 5, 0] = np.nan
    np.savez(tmp_path / "k.npz", keypoints=keypoints, fps=29.97, **SIZE)
    found = read_keypoints(tmp_path / "k.npz")
    assert (found.layout, found.width, found.height, found.fps) == (None, 640, 480, 29.97)
    assert [len(seen) for seen in found.frames.values()] == [1, 1, 0, 1]
    np.testing.assert_array_equal(found.frames[1][0].keypoints[:, :2], POINTS[1, 0])
    np.testing.assert_array_equal(found.frames[1][0].keypoints[:, 2], SCORES[1, 0] if scored else 1)
    assert found.frames[3][0].keypoints[5, 2] == 0
    np.savez(tmp_path / "k.npz", keypoints=keypoints, layout="h36m")
    assert read_keypoints(tmp_path / "k.npz").layout == H36M_17


def videopose3d(path: Path, videos: tuple[str, ...] = ("clip.mp4",), **metadata: Any) -> Path:
    positions = {video: {"custom": [POINTS[:, number].astype(np.float32)]} for number, video in enumerate(videos)}
    about = {"num_joints": 17, "video_metadata": {video: {"w": 640, "h": 480} for video in videos}} | metadata
    np.savez_compressed(path, positions_2d=np.array(positions, object), metadata=np.array(about, object))
    return path


@pytest.mark.parametrize(
    ("metadata", "layout"),
    [
        ({"layout_name": "coco"}, COCO_17),
        ({"keypoints_symmetry": [list(COCO_17.left), list(COCO_17.right)]}, COCO_17),
        ({"keypoints_symmetry": [H36M_17.left, np.array(H36M_17.right)]}, H36M_17),
        ({}, None),
    ],
)
def test_videopose3ds_custom_files(tmp_path, metadata, layout):
    found = read_keypoints(videopose3d(tmp_path / "data_2d_custom_mine.npz", **metadata))
    assert (found.layout, found.width, found.height, found.fps) == (layout, 640, 480, None)
    np.testing.assert_array_equal(found.frames[3][0].keypoints[:, :2], POINTS[3, 0].astype(np.float32))


def test_one_of_several_videos_is_chosen_by_name(tmp_path):
    path = videopose3d(tmp_path / "k.npz", ("a.mp4", "b.mp4"), layout_name="coco")
    found = read_keypoints(path, video="b.mp4")
    np.testing.assert_array_equal(found.frames[0][0].keypoints[:, :2], POINTS[0, 1].astype(np.float32))
    with pytest.raises(BenchError, match=r"k\.npz holds 2 videos; choose with --video: a\.mp4, b\.mp4"):
        read_keypoints(path)
    with pytest.raises(BenchError, match=r"No video in .*k\.npz 'c\.mp4'"):
        read_keypoints(path, video="c.mp4")


# --- what is refused


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_file_that_wants_to_run_something_is_refused(tmp_path):
    np.savez(tmp_path / "k.npz", positions_2d=np.array({"a": Hostile(tmp_path / "victim")}, object))
    with pytest.raises(BenchError, match="was refused: it wants to run"):
        read_keypoints(tmp_path / "k.npz")
    assert not (tmp_path / "victim").exists()


FIVE = {"image_id": "0.jpg", "keypoints": [1.0] * 15}
JSON_MISTAKES = {
    "{": "neither .npz nor whole JSON",
    "[" * 100_000: "neither .npz nor whole JSON",
    "[]": "holds no frames",
    "{}": "JSON of no format that is known here",
    '[{"a": 1}]': "JSON of no format that is known here",
    json.dumps([alphapose(0, 0), FIVE]): "entry 1: 5 keypoints, expected 17",
    json.dumps([alphapose(0, 0) | {"keypoints": [1.0] * 78}]): "entry 0: 26 keypoints, expected 17",
    json.dumps([alphapose(0, 0) | {"keypoints": [1.0] * 50}]): "entry 0: 50 numbers",
    json.dumps([alphapose(0, 0) | {"keypoints": ["x"] * 51}]): "entry 0: its keypoints are not numbers",
    json.dumps([alphapose(0, 0) | {"image_id": "first.jpg"}]): "cannot tell the frame's number from 'first.jpg'",
    json.dumps([{"instances": [{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1] * 16}]}]): "do not go together",
    json.dumps([{"instances": 3}]): "instances should be a list",
    json.dumps([{"instances": [3]}]): "an instance without keypoints",
}


@pytest.mark.parametrize(("content", "message"), JSON_MISTAKES.items(), ids=range(len(JSON_MISTAKES)))
def test_json_that_is_something_else_is_refused(tmp_path, content, message):
    (tmp_path / "k.json").write_text(content)
    with pytest.raises(BenchError, match=rf"k\.json.*{message}"):
        read_keypoints(tmp_path / "k.json")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"poses": np.zeros(3)}, "holds poses, but no `keypoints`"),
        ({"keypoints": np.zeros((4, 16, 2))}, r"expected keypoints \(frames, 17, 2 or 3\), found \(4, 16, 2\)"),
        ({"keypoints": np.full((4, 17, 2), "a")}, "its keypoints are not numbers"),
        ({"keypoints": POINTS[:, 0], "width": -3}, "width is .*-3.*, not a number above 0"),
        ({"keypoints": POINTS[:, 0], "layout": "mpii"}, "No layout of keypoints in .* 'mpii'. Known: coco, h36m"),
        ({"positions_2d": np.zeros(3)}, "positions_2d and metadata should be dictionaries"),
        ({"positions_2d": np.array({"S1": {"Walk": [POINTS[:, 0]] * 4}}, object)}, "4 sequences of keypoints"),
    ],
)
def test_arrays_of_something_else_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "k.npz", **arrays)
    with pytest.raises(BenchError, match=message):
        read_keypoints(tmp_path / "k.npz")


def test_no_file_and_a_name_for_the_only_video(tmp_path):
    with pytest.raises(MissingDataError, match="no keypoints there"):
        read_keypoints(tmp_path / "k.json")
    (tmp_path / "k.json").write_text("[]")
    with pytest.raises(BenchError, match="leave --video out"):
        read_keypoints(tmp_path / "k.json", video="a")
