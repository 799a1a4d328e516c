"""A method that looks at values while it lifts: it runs, and its cost is unknown wherever costs are shown."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import h36m_positions, save_h36m

import bench
from bench import Batch, Method, Window
from bench.cli import main
from bench.method import checkpoint, in_float32, registry
from bench.results.records import Record, published
from bench.runs.launch import run_benchmark
from bench.show.cost_figure import CostPoint, draw, points
from bench.show.tables import rows

TINY = """
title: Tiny people
protocol: {dataset: h36m, keypoints: gt, frames: 9, train_subjects: [S1], test_subjects: [S9, S11]}
methods:
  mean_pose: {}
  stranger:
    recipe: {epochs: 1, batch_windows: 8, learning_rate: 1e-3}
"""


class Stranger(Method):
    """Scales what a linear map makes of the keypoints by how large they are, in NumPy."""

    name = "stranger"

    def __init__(self, frames: int = 9, joints: int = 17) -> None:
        super().__init__()
        self.window = Window(frames)
        self.layer = torch.nn.Linear(2, 3)
        self.scale = torch.linspace(0, 1, 3)[-1].item()  # as many published networks space their rates

    @in_float32
    def lift(self, keypoints_2d, *, generator=None):
        if keypoints_2d.abs().max() > 1e6:
            raise ValueError("keypoints must be normalised")
        sizes = np.linalg.norm(keypoints_2d.detach().cpu().numpy(), axis=(2, 3), keepdims=True)
        return self.layer(keypoints_2d) * self.scale * torch.from_numpy(1 + 0 * sizes).to(keypoints_2d.device)

    def loss(self, batch: Batch, generator=None):
        errors = (self.lift(batch.keypoints_2d) - batch.poses_3d).norm(dim=-1)[batch.supervised].mean()
        return {"total": errors, "again": errors.detach()}


@pytest.fixture
def folder(tmp_path, monkeypatch, empty_store) -> Path:
    monkeypatch.setattr(registry, "_registered", {"stranger": Stranger})
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    save_h36m(tmp_path / "data" / "h36m", *h36m_positions())
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "results" / "mlflow").mkdir(parents=True)
    shutil.copy(empty_store, tmp_path / "results" / "mlflow" / "mlflow.db")
    return tmp_path


def run(folder: Path, **options) -> list[Record]:
    benchmark = bench.load_benchmark(str(folder / "tiny.yaml"))
    return run_benchmark(benchmark, data=folder / "data", device="cpu", **options)


def test_it_runs_and_its_cost_is_unknown_wherever_costs_are_shown(folder, capsys):
    stated = [str(folder / "tiny.yaml"), "--data", str(folder / "data"), "--device", "cpu"]
    with pytest.raises(SystemExit, match="0"):
        main(["run", *stated, "--dry-run"])
    (planned,) = [line for line in capsys.readouterr().out.splitlines() if "stranger" in line]
    assert "unknown" in planned
    records = run(folder)
    mean, stranger = records
    assert (mean.macs_per_frame, stranger.macs_per_frame) == (0, None)
    assert stranger.parameters == 9

    benchmark = bench.load_benchmark(str(folder / "tiny.yaml"))
    found = points(benchmark, rows(benchmark, records, published()))
    assert {one.label: one.macs for one in found} == {"mean_pose": 0, "stranger": None}
    (axes,) = draw("Tiny people", [*found, CostPoint("other", "measured", 1e6, 50.0, 1e4)]).axes
    assert any("stranger, of unknown cost:" in text.get_text() for text in axes.texts)

    with pytest.raises(SystemExit, match="0"):
        main(["methods"])
    (listed,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stranger ")]
    assert "unknown" in listed


def test_a_run_is_not_lost_to_a_nan_loss_in_its_history(folder):
    (before,) = run(folder, methods=["stranger"])
    (last,) = (folder / "results").rglob("last.pt")
    content = checkpoint.load(last)
    content["history"][0]["loss"]["again"] = math.nan
    checkpoint.save(content, last)
    for file in last.parent.iterdir():
        if file.name != "last.pt" and file.is_file():
            file.unlink()
    (again,) = run(folder, methods=["stranger"])
    assert again.metrics == before.metrics
