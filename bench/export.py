"""Finished runs as files for the tools of others: MPI-INF-3DHP's own evaluation script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io

from bench import paths
from bench.config import Benchmark
from bench.data import load_dataset, loader
from bench.data.pose_dataset import PoseDataset
from bench.errors import BenchError
from bench.evaluation import MM, Predictions, score
from bench.groups import official_tables
from bench.plan import chosen_methods, plan, published_weights
from bench.protocol_3dhp import SCENES
from bench.skeleton import MPI_INF_3DHP_17


def mat_3dhp(predictions: Predictions, testing: PoseDataset, folder: Path) -> list[Path]:
    """Write what the MATLAB script of MPI-INF-3DHP (Mehta et al., 3DV 2017) reads, and what it should print for it.

    `inference_data.mat` holds an array (3, 17, 1, valid frames) for each test sequence: millimetres, camera axes,
    relative to the pelvis, which is zero. `expected_*_wise.csv` are the tables of `bench.groups.official_tables`, by
    activity only if the data say what is done. Returns the files. Raises BenchError for videos of another data set.
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

    weights, imported: as `bench.launch.run_benchmark`. Raises BenchError for a benchmark of other data, and for a run
    that is not finished.
    """
    protocol = benchmark.protocol
    if loader(protocol.dataset).SKELETON != MPI_INF_3DHP_17:
        raise BenchError(f"{benchmark.name} is measured on {protocol.dataset}; this is for MPI-INF-3DHP (3dhp-gt)")
    published = published_weights(benchmark, chosen_methods(benchmark, [method]), weights or {}, imported)
    dataset = load_dataset(protocol.dataset, data, protocol.keypoints)
    (run,) = plan(benchmark, dataset, [method], [seed], published)
    if not run.finished:
        raise BenchError(
            f"{run.name} is not finished in {paths.shown(run.folder.parent)}; do it with the same data and settings: "
            f"bench run {benchmark.name} --methods {method} --seeds {seed + 1}"
        )
    return Predictions.load(run.folder / "predictions.npz"), dataset.subset(protocol.test_subjects)
