"""Read files of 2D keypoints, as detectors write them or as plain arrays, into people by frame.

| file | recognised by |
|---|---|
| `.npz` of the suite | `keypoints` (frames, 17, 2 or 3) pixels; if known `width`, `height`, `fps`, `layout` |
| `.npz` of VideoPose3D's custom data sets | `positions_2d` {video: {action: [view]}} and `metadata` |
| JSON of AlphaPose, or Detectron2's in COCO's results format | a list of people, each with `image_id` and `keypoints` |
| JSON of MMPose | a list of frames, each with `instances`, or that list under `instance_info` |

A third number of a keypoint is its score. The format is recognised by the content, not by the name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.files.archive import read_npz
from bench.geometry.skeleton import COCO_17, H36M_17, Skeleton
from bench.system.errors import BenchError, missing_file, unknown
from bench.system.paths import shown

Array = NDArray[Any]

LAYOUTS = {"coco": COCO_17, "h36m": H36M_17}
JOINTS = 17  # in both layouts


@dataclass(frozen=True)
class Person:
    """One person in one frame. keypoints: (17, 3) x and y in pixels, and score. track: the person's id."""

    keypoints: Array
    track: str | None = None


@dataclass(frozen=True)
class Detections:
    """The content of a file for one video. frames: people by frame number in the file. None: the file does not say."""

    frames: Mapping[int, Sequence[Person]]
    layout: Skeleton | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None


def read_keypoints(path: Path, video: str | None = None) -> Detections:
    """Read a file of any of these formats.

    video: which one, if the file holds several. Raises MissingDataError if there is no such file; BenchError if it is
    of another format or joint set, damaged, or would execute code.
    """
    if not path.is_file():
        raise missing_file(shown(path), "no keypoints there")
    with path.open("rb") as stream:
        packed = stream.read(2) == b"PK"
    if packed or path.suffix == ".npz":
        return _arrays(path, video)
    if video is not None:
        raise BenchError(f"{shown(path)} holds one video: leave --video out")
    return _json(path)


# --- .npz


def _arrays(path: Path, video: str | None) -> Detections:
    content = read_npz(path)
    if "positions_2d" in content:
        return _videopose3d(path, content, video)
    if "keypoints" not in content:
        raise BenchError(f"{shown(path)} holds {', '.join(content) or 'nothing'}, but no `keypoints` (frames, 17, 2)")
    if video is not None:
        raise BenchError(f"{shown(path)} holds one video: leave --video out")
    layout = content.get("layout")
    if layout is not None and str(layout) not in LAYOUTS:
        raise unknown(f"layout of keypoints in {shown(path)}", str(layout), LAYOUTS)
    return Detections(
        _frames(shown(path), content["keypoints"]),
        LAYOUTS[str(layout)] if layout is not None else None,
        _number(path, "width", content.get("width"), int),
        _number(path, "height", content.get("height"), int),
        _number(path, "fps", content.get("fps"), float),
    )


def _videopose3d(path: Path, content: Mapping[str, Any], video: str | None) -> Detections:
    positions, metadata = content["positions_2d"], content.get("metadata", {})
    if not isinstance(positions, dict) or not isinstance(metadata, dict):
        raise BenchError(f"{shown(path)}: positions_2d and metadata should be dictionaries")
    if video is None and len(positions) != 1:
        raise BenchError(f"{shown(path)} holds {len(positions)} videos; choose with --video: {', '.join(positions)}")
    name = video if video is not None else next(iter(positions))
    if name not in positions:
        raise unknown(f"video in {shown(path)}", name, positions)
    where = f"{shown(path)}, video {name!r}"
    actions = positions[name]
    views = [view for action in actions.values() for view in action] if isinstance(actions, dict) else []
    if len(views) != 1:
        raise BenchError(f"{where}: {len(views)} sequences of keypoints, expected one; is this file of a data set?")
    about = metadata.get("video_metadata", {})
    size = about.get(name, {}) if isinstance(about, dict) else {}
    return Detections(
        _frames(where, views[0]),
        _layout(path, metadata),
        _number(path, "w", size.get("w"), int),
        _number(path, "h", size.get("h"), int),
        _number(path, "fps", size.get("fps"), float),
    )


def _layout(path: Path, metadata: Mapping[str, Any]) -> Skeleton | None:
    """The layout by its name, else by which joints are left and right."""
    name = metadata.get("layout_name")
    if name is not None and str(name) not in LAYOUTS:
        raise unknown(f"layout of keypoints in {shown(path)}", str(name), LAYOUTS)
    if name is not None:
        return LAYOUTS[str(name)]
    sides = [sorted(map(int, side)) for side in metadata.get("keypoints_symmetry", [])]
    return next((one for one in LAYOUTS.values() if sides == [sorted(one.left), sorted(one.right)]), None)


def _frames(where: str, keypoints: Any) -> dict[int, list[Person]]:
    """One person, in every frame in which at least one keypoint is a number."""
    shape = np.shape(keypoints)
    if len(shape) != 3 or shape[1] != JOINTS or shape[2] not in (2, 3):
        raise BenchError(f"{where}: expected keypoints (frames, {JOINTS}, 2 or 3), found {shape}")
    people = _scored(where, keypoints)
    return {frame: [Person(person)] if np.isfinite(person[:, 0]).any() else [] for frame, person in enumerate(people)}


def _number(path: Path, name: str, value: Any, kind: type[Any]) -> Any:
    if value is None:
        return None
    if np.shape(value) or not np.isfinite(float(value)) or float(value) <= 0:
        raise BenchError(f"{shown(path)}: {name} is {value!r}, not a number above 0")
    return kind(value)


# --- JSON


def _json(path: Path) -> Detections:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{shown(path)} is neither .npz nor whole JSON ({error})") from None
    about: Any = {}
    if isinstance(content, dict) and "instance_info" in content:
        content, about = content["instance_info"], content.get("meta_info")
    if isinstance(content, list) and all(isinstance(entry, dict) for entry in content):
        if not content:
            raise BenchError(f"{shown(path)} holds no frames")
        if all("instances" in entry for entry in content):
            return Detections(_mmpose(path, content), _named(about))
        if all({"image_id", "keypoints"} <= entry.keys() for entry in content):
            return Detections(_flat(path, content), COCO_17)
    raise BenchError(
        f"{shown(path)} is JSON of no format that is known here: a list of people with `image_id` and `keypoints` "
        "(AlphaPose, or Detectron2 in COCO's results format) or of frames with `instances` (MMPose)"
    )


def _named(about: Any) -> Skeleton:
    """The joint set named in MMPose's meta_info; COCO's if it names none."""
    name = str(about.get("dataset_name", "")) if isinstance(about, dict) else ""
    return H36M_17 if name.lower() in ("h36m", "human36m") else COCO_17


def _flat(path: Path, people: Iterable[Mapping[str, Any]]) -> dict[int, list[Person]]:
    """One person per entry. Track: `idx` of AlphaPose with tracking, or `track_id`."""
    frames: dict[int, list[Person]] = {}
    for number, entry in enumerate(people):
        where = f"{shown(path)}, entry {number}"
        keypoints = _flat_numbers(where, entry["keypoints"])
        if len(keypoints) % 3:
            raise BenchError(f"{where}: {len(keypoints)} numbers, expected x, y and score of {JOINTS} keypoints")
        track = entry.get("track_id", entry.get("idx"))
        person = Person(_scored(where, keypoints.reshape(-1, 3)), _track(track))
        frames.setdefault(_frame_number(where, entry["image_id"]), []).append(person)
    return frames


def _mmpose(path: Path, entries: Sequence[Mapping[str, Any]]) -> dict[int, list[Person]]:
    frames: dict[int, list[Person]] = {}
    for number, entry in enumerate(entries):
        where = f"{shown(path)}, entry {number}"
        if not isinstance(entry["instances"], list):
            raise BenchError(f"{where}: instances should be a list")
        people = frames.setdefault(_frame_number(where, entry.get("frame_id", number)), [])
        for instance in entry["instances"]:
            if not isinstance(instance, dict) or "keypoints" not in instance:
                raise BenchError(f"{where}: an instance without keypoints")
            points = _flat_numbers(where, instance["keypoints"]).reshape(-1)
            scores = _flat_numbers(where, instance.get("keypoint_scores", [1.0] * (len(points) // 2)))
            if len(points) != 2 * len(scores):
                raise BenchError(f"{where}: {len(points)} coordinates and {len(scores)} scores do not go together")
            keypoints = np.column_stack([points.reshape(-1, 2), scores])
            people.append(Person(_scored(where, keypoints), _track(instance.get("track_id"))))
    return frames


def _flat_numbers(where: str, numbers: Any) -> Array:
    try:
        return np.asarray(numbers, np.float64).ravel()
    except (TypeError, ValueError):
        raise BenchError(f"{where}: its keypoints are not numbers") from None


def _scored(where: str, keypoints: Any) -> Array:
    """(..., 17, 2 or 3) to (..., 17, 3): without a score it is 1; keypoints that are not finite score 0."""
    if np.shape(keypoints)[-2] != JOINTS:
        raise BenchError(
            f"{where}: {np.shape(keypoints)[-2]} keypoints, expected {JOINTS} in COCO's or Human3.6M's order; "
            "choose a detector model with such keypoints"
        )
    try:
        given = np.asarray(keypoints, np.float64)
    except (TypeError, ValueError):
        raise BenchError(f"{where}: its keypoints are not numbers") from None
    scored = given if given.shape[-1] == 3 else np.concatenate([given, np.ones_like(given[..., :1])], axis=-1)
    return np.where(np.isfinite(scored).all(axis=-1, keepdims=True), scored, [np.nan, np.nan, 0.0])


def _frame_number(where: str, image: Any) -> int:
    """The number itself, or the last one in the image's name: "0.jpg", "frame_000123.png"."""
    if isinstance(image, int):
        return image
    digits = re.findall(r"\d+", Path(str(image)).stem)
    if not digits:
        raise BenchError(f"{where}: cannot tell the frame's number from {image!r}")
    return int(digits[-1])


def _track(track: Any) -> str | None:
    """AlphaPose writes 3, 3.0 or [3]."""
    while isinstance(track, list) and track:
        track = track[0]
    if isinstance(track, float) and track.is_integer():
        track = int(track)
    return str(track) if isinstance(track, int | str) else None
