"""What the suite writes for other programs."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from bench import predictions_file
from bench.config import Benchmark
from bench.data.split import load_testing
from bench.errors import BenchError
from bench.paths import shown


def template(
    benchmark: Benchmark, output: Path, *, with_input: Path | None = None, data: str | Path | None = None
) -> str:
    """Write a file of predictions for a benchmark with NaN for every number, and say what is in it.

    with_input: another file, with the same keys, for the keypoints that are to be lifted: (frames, joints, 2),
    normalised. data: as `load_dataset`. Raises BenchError if a file is there already: it may hold somebody's work.
    """
    files = [output] if with_input is None else [output, with_input]
    if with_input == output:
        raise BenchError(f"{shown(output)} cannot hold both the template and its input; name two files")
    for file in files:
        if file.exists():
            raise BenchError(f"{shown(file)} is there already; name another file, or remove it")
    testing = load_testing(benchmark.protocol, data)
    empty = np.broadcast_to(np.float32(np.nan), testing.poses_3d.shape)  # takes no memory
    arrays = predictions_file.by_video(testing, empty)
    predictions_file.write(output, arrays)
    if with_input is not None:
        predictions_file.write(with_input, predictions_file.by_video(testing, testing.keypoints_2d.numpy()))
    key, poses = next(iter(arrays.items()))
    joints = textwrap.fill(", ".join(testing.skeleton.joints), 105, subsequent_indent=" " * 14)
    lines = [
        f"{benchmark.name}: {len(arrays)} videos, {len(testing.poses_3d):,} frames, {testing.fps:g} fps",
        f"  written     {shown(output)}: NaN to be replaced by metres, camera axes, root-relative",
        *([f"  written     {shown(with_input)}: keypoints (frames, joints, 2), x from -1 to 1"] if with_input else []),
        f"  first       {key!r} {poses.shape}",
        f"  joints      {joints}",
        f"  score       bench score {benchmark.name} --predictions {shown(output)} --name NAME",
    ]
    return "\n".join(lines)
