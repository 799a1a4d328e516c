"""Files for other programs: templates of predictions, and MATLAB files for MPI-INF-3DHP."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io

from bench.config.schema import Benchmark
from bench.data import dataset_named
from bench.data.mpi_inf_3dhp_labels import SCENES
from bench.data.pose_dataset import PoseDataset
from bench.data.split import load_testing
from bench.evaluation import predictions_file
from bench.evaluation.groups import official_tables
from bench.evaluation.predictions import Predictions
from bench.evaluation.scores import MM
from bench.evaluation.scoring import score
from bench.geometry.skeleton import MPI_INF_3DHP_17
from bench.runs.plan import one_run
from bench.system import paths
from bench.system.errors import BenchError
from bench.system.paths import shown


def template(
    benchmark: Benchmark, output: Path, *, with_input: Path | None = None, data: str | Path | None = None
) -> str:
    """Write a file of predictions for a benchmark with NaN for every number. Returns a summary as text.

    with_input: another file, with the same keys, for the keypoints that are to be lifted: (frames, joints, 2),
    normalised. data: as `load_dataset`. Raises BenchError if a file is there already: it may hold the user's work.
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


def mat_3dhp(predictions: Predictions, testing: PoseDataset, folder: Path) -> list[Path]:
    """Write the input of the MATLAB script of MPI-INF-3DHP (Mehta et al., 3DV 2017), and the tables it should print.

    `inference_data.mat` holds an array (3, 17, 1, valid frames) per test sequence: millimetres, camera axes, relative
    to the pelvis, which is zero. `expected_*_wise.csv` are the tables of `official_tables`, by activity only if the
    data have activity labels. Returns the files. Raises BenchError for videos of another data set.
    """
    videos = testing.sequences["subject"].tolist()
    if testing.skeleton != MPI_INF_3DHP_17 or not set(videos) <= set(SCENES):
        raise BenchError(f"{testing.name}: the script of MPI-INF-3DHP knows TS1 to TS6, not {', '.join(videos)}")
    poses = predictions.per_frame(testing).astype(np.float64) * MM
    poses[:, testing.skeleton.root] = 0
    arrays = {}
    for name, start, frames in zip(videos, testing.starts, testing.lengths, strict=True):
        rows = testing.counted[(testing.counted >= start) & (testing.counted < start + frames)]
        arrays[name] = poses[rows].transpose(2, 1, 0)[:, :, None]
    written = [folder / "inference_data.mat"]
    with paths.whole_file(written[0]) as unfinished:
        scipy.io.savemat(unfinished, arrays, do_compression=True)
    for by, table in official_tables(score(predictions, testing)).items():
        written.append(folder / f"expected_{by}_wise.csv")
        paths.write_text(written[-1], table.round(6).to_csv())
    return written


def finished_3dhp(
    benchmark: Benchmark,
    method: str,
    seed: int = 0,
    *,
    data: str | Path | None = None,
    weights: Mapping[str, Path] | None = None,
    imported: bool = True,
) -> tuple[Predictions, PoseDataset]:
    """The predictions of a finished run on MPI-INF-3DHP, and the test set that they are for.

    data, weights, imported: as `bench.runs.plan.one_run`. Raises BenchError for a benchmark of other data and a run
    without predictions.
    """
    protocol = benchmark.protocol
    if dataset_named(protocol.tested_on.dataset).skeleton != MPI_INF_3DHP_17 or protocol.crosses:
        measured = protocol.tested_on.dataset + (" in other joints" if protocol.crosses else "")
        raise BenchError(f"{benchmark.name} is measured on {measured}; this is for MPI-INF-3DHP (3dhp-gt)")
    run, split = one_run(benchmark, method, seed, data=data, weights=weights, imported=imported)
    return Predictions.load(run.kept_predictions()), split.testing
