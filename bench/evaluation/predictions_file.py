"""Files of predictions made elsewhere, by any framework: one float array per test video in a plain .npz file.

The key of a video is `subject/sequence/camera`, like `S9/Directions 1/54138969`; its array is (frames, joints, 3),
metres, camera axes, root-relative. A file holds every test video of its benchmark and nothing else
(docs/how-to/scoring.md).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.batch import Window
from bench.data.files import archive
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import scored_windows
from bench.evaluation.predictions import Predictions
from bench.system.errors import BenchError
from bench.system.paths import shown, whole_file

FRAME = Window(1)  # predictions made elsewhere have no windows: one row per frame
NAMED = 3  # videos or keys that a message names; more are only counted


def keys(dataset: PoseDataset) -> list[str]:
    """The key of every video, in table order."""
    names: list[str] = dataset.sequences[["subject", "sequence", "camera"]].agg("/".join, axis=1).tolist()
    return names


def by_video(dataset: PoseDataset, block: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The part of each video in a block of all frames, by key. block: (total, ...)."""
    return dict(zip(keys(dataset), np.split(block, dataset.starts[1:]), strict=True))


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a compressed .npz file of plain arrays, whole or not at all."""
    with whole_file(path) as unfinished, unfinished.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def read(path: Path, testing: PoseDataset) -> Predictions:
    """The predictions in a file, for the scored frames of a test set.

    A video's array has a pose for every frame of the video, those that are not scored being ignored, or for the scored
    frames alone. Raises BenchError, naming the videos, for a file that lacks one or holds another, for other shapes and
    types, and for scored poses that are not finite.
    """
    content = archive.read_npz(path)
    _check_keys(path, content, keys(testing))
    every_frame = np.ones(len(testing.poses_3d), np.bool_)
    scored = by_video(testing, every_frame if testing.valid is None else testing.valid.numpy())
    _refuse(path, [problem for key in scored if (problem := _misshapen(key, content[key], scored[key], testing))])
    parts, problems = [], []
    for key, frames in scored.items():
        poses = content.pop(key)  # frees the memory of what was converted
        with np.errstate(over="ignore"):
            poses = (poses[frames] if len(poses) == len(frames) else poses).astype(np.float32)
        if not np.isfinite(poses).all():
            problems.append(_not_finite(key, poses, frames))
        parts.append(poses)
    _refuse(path, problems)
    return Predictions(FRAME, scored_windows(testing, FRAME), np.concatenate(parts)[:, None])


def _check_keys(path: Path, content: Mapping[str, Any], expected: Sequence[str]) -> None:
    missing, surplus = [key for key in expected if key not in content], sorted(content.keys() - set(expected))
    if not missing and not surplus:
        return
    lines = [f"{shown(path)} must hold the {len(expected)} test videos and nothing else"]
    if missing:
        lines.append(f"missing are {len(missing)}: {_listed(missing)}")
    if surplus:
        near = difflib.get_close_matches(surplus[0], missing or expected, n=1)
        nearest = f" (nearest to the first: {near[0]!r})" if near else ""
        lines.append(f"not among them are {len(surplus)} of its arrays: {_listed(surplus)}{nearest}")
    if any(np.asarray(array).dtype.hasobject or isinstance(array, dict) for array in content.values()):
        lines.append("a dictionary of arrays is written with numpy.savez_compressed(FILE, **arrays), with two stars")
    raise BenchError("; ".join(lines) + ". `bench export template` writes a file with the right keys")


def _misshapen(key: str, poses: Any, scored: NDArray[np.bool_], testing: PoseDataset) -> str | None:
    shape, joints = np.shape(poses), len(testing.skeleton)
    if not isinstance(poses, np.ndarray) or poses.dtype.kind != "f":
        return f"{key!r} holds {getattr(poses, 'dtype', type(poses).__name__)}, expected floating-point numbers"
    if shape[1:] == (joints, 3) and shape[0] in (len(scored), scored.sum()):
        return None
    frames = f"{len(scored)} frames" + ("" if scored.all() else f" or its {scored.sum()} valid ones")
    return f"{key!r} has the shape {shape}, expected (frames, {joints}, 3) with {frames}"


def _not_finite(key: str, poses: NDArray[np.float32], scored: NDArray[np.bool_]) -> str:
    bad = ~np.isfinite(poses).all(axis=(1, 2))
    if bad.all():
        return f"{key!r} has no finite pose; is it still the template?"
    first = np.flatnonzero(scored)[np.flatnonzero(bad)[0]]
    return f"{key!r} has {bad.sum()} scored poses that are not finite, the first in frame {first}"


def _refuse(path: Path, problems: Sequence[str]) -> None:
    """Raise BenchError if there are problems, one per video; the first few are named."""
    if problems:
        more = [f"... and {len(problems) - NAMED} more videos"] if len(problems) > NAMED else []
        raise BenchError("\n  ".join([f"{shown(path)}:", *problems[:NAMED], *more]))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:NAMED])) + (", ..." if len(names) > NAMED else "")
