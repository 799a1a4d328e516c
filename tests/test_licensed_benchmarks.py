"""Every benchmark of a licensed data set, from files in the community's formats to its table, at reduced size."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest
from samples import h36m_positions, mpi_inf_3dhp, save_3dhp, save_h36m

from bench import load_benchmark
from bench.cli import main
from bench.config import benchmark_names

pytestmark = pytest.mark.slow

FREE = ("cmu", "synthetic")
LICENSED = [name for name in benchmark_names() if load_benchmark(name).protocol.trained_on.dataset not in FREE]
# Windows keep their published length and layout, networks and training shrink.
REDUCED = ("model.dim=16", "model.depth=1", "model.heads=2", "recipe.epochs=1", "recipe.window_stride=9")
SEQUENCES = {
    "S1": {"Sitting 1": 12, "SittingDown 2": 9},
    **{subject: {"Walking": 8} for subject in ("S5", "S6", "S7", "S8")},
    "S9": {"Sitting": 85, "SittingDown 1": 6},
    "S11": {"Phoning 3": 7},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with made-up files of both data sets."""
    folder = tmp_path_factory.mktemp("data")
    world, pixels = h36m_positions(SEQUENCES)
    save_h36m(folder / "h36m", world, pixels)
    rng = np.random.default_rng(3)
    for views in (views for sequences in pixels.values() for views in sequences.values()):
        views[:] = [(view + rng.normal(0, 4, view.shape)).astype(np.float32) for view in views]
    save_h36m(folder / "h36m", world, pixels, "cpn_ft_h36m_dbb")
    train, test = mpi_inf_3dhp()
    train |= {f"S{number} Seq1": copy.deepcopy(train["S1 Seq1"]) for number in range(3, 8)}
    save_3dhp(folder / "3dhp", train, test)
    for part in ("train", "test"):  # for the other kind of labels
        shutil.copy(folder / "3dhp" / f"data_{part}_3dhp.npz", folder / "3dhp" / f"data_{part}_3dhp_annot3.npz")
    return folder


@pytest.mark.parametrize("name", LICENSED)
def test_a_benchmark_runs_at_reduced_size(name, data, results_folder, capsys, monkeypatch):
    benchmark = load_benchmark(name)
    changes = [word for change in REDUCED for word in ("--set", change)]
    with pytest.raises(SystemExit, match="0"):
        main(["run", name, "--data", str(data), "--device", "cpu", "--no-track", *changes])
    out = capsys.readouterr().out
    records = [json.loads(path.read_text()) for path in (results_folder / "trials" / name).glob("*.json")]
    assert {record["method"] for record in records} == set(benchmark.methods)
    tested_on_3dhp = benchmark.protocol.tested_on.dataset.startswith("3dhp")
    for record in records:
        assert record["frames"] == (16 if tested_on_3dhp else 4 * (85 + 6 + 7))
        assert record["receptive_field"] == benchmark.frames(record["method"])
        assert 0 < record["metrics"]["mpjpe"]["value"] < 2000
    assert benchmark.title in out
