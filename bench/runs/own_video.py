"""Lifting in the wild: 2D keypoints of a user's own video in, 3D poses out.

The same windows, mirrored average and noise as in a benchmark. The result is a plain .npz file with all that a picture
or an animation needs, and optionally the same poses as a CSV table.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.config.load import benchmark_names, load_benchmark
from bench.data import dataset_named
from bench.data.own_video.keypoint_files import LAYOUTS, read_keypoints
from bench.data.own_video.tracks import Track, follow
from bench.data.pose_dataset import Builder, PoseDataset, Video
from bench.evaluation.predictions import predict
from bench.geometry.camera import View, normalise_screen
from bench.geometry.skeleton import H36M_17, Skeleton
from bench.method import checkpoint, weights
from bench.method.base import Method
from bench.method.registry import build, method_and_stage
from bench.show.draw.scene import Scene
from bench.system.device import choose_device, threads_for
from bench.system.errors import BenchError
from bench.system.paths import shown, whole_file

FPS = 50.0  # Human3.6M's, where nothing says otherwise
OUTSIDE = 0.2  # share of a person's keypoints that may lie outside the image


@dataclass(frozen=True)
class Lifter:
    """A trained method. seen: the joints of the 2D that it was trained on. sha256: of the file its weights are in."""

    method: Method
    seen: Skeleton
    sha256: str


@dataclass(frozen=True)
class Clip:
    """One person in one video, every frame. fps_known: false if `FPS` was assumed."""

    track: Track
    view: View
    fps: float
    fps_known: bool = True


@dataclass(frozen=True)
class Lifted:
    """The result of `lift`. poses_3d: (frames, 17, 3) metres, camera axes (x right, y down, z forward), pelvis at 0."""

    clip: Clip
    lifter: Lifter
    poses_3d: NDArray[np.float32]

    def save(self, path: Path, csv: Path | None = None) -> None:
        """Write the .npz file and the table, both or neither. Raises UnwritableError if one cannot be written."""
        track, view = self.clip.track, self.clip.view
        with contextlib.ExitStack() as stack:
            with stack.enter_context(whole_file(path)).open("wb") as stream:
                np.savez_compressed(
                    stream,
                    poses_3d=self.poses_3d,
                    joints=np.array(H36M_17.joints),
                    keypoints_2d=track.keypoints_2d.astype(np.float32),
                    interpolated=track.interpolated,
                    joints_2d=np.array(track.skeleton.joints),
                    frames=track.frames,
                    fps=np.array(self.clip.fps),
                    width=np.array(view.width),
                    height=np.array(view.height),
                    method=np.array(self.lifter.method.name),
                    checkpoint_sha256=np.array(self.lifter.sha256),
                )
            if csv is not None:
                self.table.to_csv(stack.enter_context(whole_file(csv)), index=False, float_format="%.6f")

    def scene(self, title: str) -> Scene:
        """The video as it is drawn, without ground truth."""
        track, view = self.clip.track, self.clip.view
        return Scene(
            title=title,
            fps=self.clip.fps,
            skeleton=H36M_17,
            skeleton_2d=track.skeleton,
            keypoints_2d=normalise_screen(track.keypoints_2d, view.width, view.height),
            predictions={self.lifter.method.name: self.poses_3d},
            first=int(track.frames[0]),
        )

    @property
    def table(self) -> pd.DataFrame:
        """Tidy: frame (its number in the file), time_s since the first one, joint, x_m, y_m, z_m."""
        frames, joints, _ = self.poses_3d.shape
        number = self.clip.track.frames
        return pd.DataFrame(
            {
                "frame": number.repeat(joints),
                "time_s": ((number - number[0]) / self.clip.fps).repeat(joints),
                "joint": list(H36M_17.joints) * frames,
                **{f"{axis}_m": self.poses_3d[..., index].ravel() for index, axis in enumerate("xyz")},
            }
        )


def lift(lifter: Lifter, clip: Clip, *, flip: bool = True, seed: int = 0, device: str = "auto") -> Lifted:
    """Lift one person in one video.

    flip: average with the mirrored prediction for the mirror image. seed: of the noise of methods that sample.
    Raises BenchError if the clip's joints are not those that the method reads.
    """
    track = clip.track.as_h36m() if lifter.seen == H36M_17 else clip.track
    if track.skeleton != lifter.seen:
        raise BenchError(f"the weights read {lifter.seen.name}, and {track.skeleton.name} does not hold its joints")
    where = choose_device(device)
    dataset = _dataset(track, clip)
    with threads_for(lifter.method.parameter_count, where):
        predictions = predict(
            lifter.method.to(where), dataset, flip=flip, seed=seed, device=where, label="lift", seen=lifter.seen
        )
    poses_3d = predictions.per_frame(dataset)
    poses_3d[:, H36M_17.root] = 0  # as when it is scored
    return Lifted(Clip(track, clip.view, clip.fps, clip.fps_known), lifter, poses_3d)


def _dataset(track: Track, clip: Clip) -> PoseDataset:
    """The video as a data set, its poses not known."""
    unknown = np.zeros((len(track.frames), len(H36M_17), 3), np.float32)
    builder = Builder("in the wild", "own", clip.fps, "")
    builder.add(Video("person", "own", "video", clip.view, track.keypoints_2d, unknown))
    return builder.build()


# --- the keypoints


def read_clip(
    path: Path,
    *,
    layout: str | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    video: str | None = None,
    person: str | None = None,
    min_score: float = 0.3,
    max_gap: float = 2.0,
) -> Clip:
    """One person of a file of keypoints, gaps filled.

    layout: "coco" or "h36m"; size: width and height of the video in pixels; fps: its frame rate: each overrides the
    file; without either, fps is 50 and the others are errors. The rest as `read_keypoints` and `follow`. Raises
    MissingDataError and BenchError as these, and BenchError if layout or size is not known or the size cannot be right.
    """
    found = read_keypoints(path, video)
    skeleton = LAYOUTS[layout] if layout else found.layout
    if skeleton is None:
        raise BenchError(f"{shown(path)} does not state its joints: give --layout coco or --layout h36m")
    if size is None and (found.width is None or found.height is None):
        raise BenchError(f"{shown(path)} does not state the size of the video: give --size WIDTHxHEIGHT, in pixels")
    view = View("own", *(size or (found.width or 0, found.height or 0)))
    rate = fps or found.fps
    track = follow(shown(path), found, skeleton, rate or FPS, person=person, min_score=min_score, max_gap=max_gap)
    _check_size(path, track, view)
    return Clip(track, view, rate or FPS, rate is not None)


def _check_size(path: Path, track: Track, view: View) -> None:
    """Raise BenchError for an unlikely size: a wrong one would move every joint without any other error."""
    points = track.keypoints_2d[~track.interpolated]
    extent, outside = np.ptp(points, axis=0).max(), ((points < 0) | (points > [view.width, view.height])).any(axis=1)
    if extent < 4:
        raise BenchError(
            f"{shown(path)}: all keypoints lie within {extent:.2g} pixels; they must be in pixels of the video"
        )
    if outside.mean() > OUTSIDE:
        raise BenchError(
            f"{shown(path)}: {outside.mean():.0%} of the keypoints lie outside an image of {view.width} x "
            f"{view.height}; they reach x = {points[:, 0].max():.0f}, y = {points[:, 1].max():.0f}: give the video's "
            "own size with --size WIDTHxHEIGHT"
        )


def clip_summary(clip: Clip) -> str:
    """A summary of what was read, which person was followed, and which gaps were filled."""
    track, view = clip.track, clip.view
    frames, filled = len(track.frames), track.interpolated
    rate = f"{clip.fps:g} frames per second" + ("" if clip.fps_known else " assumed; change it with --fps")
    lines = [
        f"video       {frames} frames, {view.width} x {view.height}, {rate}",
        f"person      {track.who}",
        "filled in   nothing",
    ]
    if filled.any():
        gap = track.longest_gap
        lines[-1] = (
            f"filled in   {int(filled.sum())} of {filled.size} keypoints, in {int(filled.any(axis=1).sum())} of "
            f"{frames} frames; longest gap {gap} frame{'s' * (gap > 1)} ({gap / clip.fps:.2f} s)"
        )
    return "\n".join(lines)


# --- the weights


def load_lifter(
    path: Path,
    method: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    trained_on: str = "h36m",
) -> Lifter:
    """A trained method from a file: `weights.pt` of a run, what `bench import` wrote, or a published checkpoint.

    method: its name, needed for a published checkpoint only. hyperparameters: values that replace those of the file.
    trained_on: the joints of the 2D that it reads, "h36m" or "coco". Nothing in the file is executed.
    Raises MissingDataError if there is no such file; BenchError if it is damaged or refused, of another method or of
    other joints than Human3.6M's, or lacks what the method takes from training data.
    """
    given = dict(hyperparameters or {})
    if path.suffix == weights.SUFFIX:
        found = weights.load_weights(path)
        _refuse_other_joints(path, _imported_for(path))
        lifter = _published(path, found, given)
    else:
        content = checkpoint.load_published(path)
        if _is_own(content):
            lifter = _own(path, content, given)
        elif method is None:
            raise BenchError(
                f"{shown(path)} does not state its method: name it with --method if it is a published checkpoint; "
                "of a run of this suite, give weights.pt"
            )
        else:
            lifter = _published(path, weights.import_file(method, path, given), {})
    if method not in (None, lifter.name):
        raise BenchError(f"{shown(path)} holds weights of {lifter.name}, not of {method}; leave --method out")
    with path.open("rb") as stream:
        return Lifter(lifter.eval(), LAYOUTS[trained_on], hashlib.file_digest(stream, "sha256").hexdigest())


def _is_own(content: Mapping[str, Any]) -> bool:
    """Whether this is the content of a run's weights.pt."""
    kinds = {"method": dict, "name": str, "model": dict, "frames": int}
    return all(isinstance(content.get(key), kind) for key, kind in kinds.items())


def _own(path: Path, content: Mapping[str, Any], given: Mapping[str, Any]) -> Method:
    """The method of a finished run."""
    _refuse_other_joints(path, content.get("skeleton", H36M_17.name))
    lifter = build(content["name"], **{"frames": content["frames"], **content["model"], **given})
    try:
        lifter.load_state_dict(content["method"])
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise BenchError(f"{shown(path)} does not fit {lifter.name} as it is built now: {first}") from None
    return lifter


def _published(path: Path, found: weights.Weights, given: Mapping[str, Any]) -> Method:
    """The method of a published file, whose hyper-parameters must state its statistics of training data."""
    if method_and_stage(found.method)[1]:
        raise BenchError(f"{shown(path)} holds {found.method}, which is trained before a lifter and lifts nothing")
    if found.joints != len(H36M_17):
        raise BenchError(f"{shown(path)} lifts {found.joints} joints, not the {len(H36M_17)} of {H36M_17.name}")
    lifter = found.build(**given)
    lacking = _taken_from_data(lifter)
    if lacking:
        raise BenchError(
            f"{shown(path)} lacks {', '.join(lacking)}, which {lifter.name} takes from its training data; where it is "
            f"known, state it: {' '.join(f'--set {name}=VALUE' for name in lacking)}"
        )
    return lifter


def _taken_from_data(method: Method) -> list[str]:
    """The names of the tensors that a method computes from its training data: they change with the data."""
    probe = copy.deepcopy(method)
    builder = Builder("probe", "none", FPS, "", extent=0.123)
    pose = np.linspace(0, 0.123, 3 * len(H36M_17), dtype=np.float32).reshape(1, -1, 3)
    builder.add(Video("probe", "probe", "probe", View("probe", 2, 2), pose[..., :2], pose))
    probe.prepare(builder.build())
    after = probe.state_dict()
    return [name for name, value in method.state_dict().items() if not torch.equal(value, after[name])]


def _imported_for(path: Path) -> str:
    """The joint set of the benchmark whose folder `bench import --for` has put a file into."""
    if path.parent.name in benchmark_names():
        skeleton: Skeleton = dataset_named(load_benchmark(path.parent.name).protocol.trained_on.dataset).skeleton
        return skeleton.name
    return H36M_17.name


def _refuse_other_joints(path: Path, name: str) -> None:
    if name != H36M_17.name:
        raise BenchError(
            f"{shown(path)} was trained on {name}, whose joints no detector for COCO or Human3.6M finds; "
            f"lift with weights for {H36M_17.name}"
        )
