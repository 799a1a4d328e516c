"""The Python in the documentation is run as it stands, page by page, on made-up data.

The pages on adding a method, a metric or a data set have tests of their own, which do all that the pages say.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import h36m_positions, save_h36m
from torch import nn

import bench
from bench.runs.launch import run_benchmark
from bench.system import paths

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

ROOT = Path(__file__).parent.parent
RUNS = {"tracking.md", "in-the-wild.md", "scoring.md"}
ELSEWHERE = {"adding-a-method.md", "adding-a-metric.md", "adding-a-dataset.md"}
PUBLISHED = {"python.md", "published-weights.md"}  # read licensed data and published checkpoints of full size
BENCHMARK = """
title: Synthetic people
protocol: {dataset: h36m, keypoints: gt, frames: 27, train_subjects: [S1], test_subjects: [S9]}
methods:
  mean_pose: {}
"""


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, empty_store) -> Path:
    """What `bench run demo` leaves, of the mean pose alone: results, and the weights of the run."""
    folder = tmp_path_factory.mktemp("docs")
    save_h36m(folder / "data" / "h36m", *h36m_positions())
    (folder / "demo.yaml").write_text(BENCHMARK)
    (folder / "results" / "mlflow").mkdir(parents=True)
    shutil.copy(empty_store, folder / "results" / "mlflow" / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_RESULTS", str(folder / "results"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run_benchmark(bench.load_benchmark(str(folder / "demo.yaml")), data=folder / "data", device="cpu")
        (weights,) = paths.cache().rglob("weights.pt")
    shutil.copy(weights, folder / "weights.pt")
    return folder


class Model(nn.Module):
    """Stands for a reader's own: every frame by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(2, 3)

    def forward(self, keypoints_2d: torch.Tensor) -> torch.Tensor:
        return self.up(keypoints_2d)


def prepare(folder: Path) -> dict[str, Any]:
    """The files that the pages read, and what they leave to the reader."""
    keypoints = np.random.default_rng(0).uniform(100, 900, (40, 17, 2))
    numbers = np.insert(keypoints, 2, 1, axis=2).reshape(40, -1).tolist()  # x, y, score
    people = [
        {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": points, "score": 3}
        for frame, points in enumerate(numbers)
    ]
    (folder / "alphapose-results.json").write_text(json.dumps(people))
    np.savez(folder / "input.npz", **{"S9/Directions 1/54138969": np.zeros((5, 17, 2), np.float32)})
    return {"lift": lambda keypoints_2d: np.zeros((len(keypoints_2d), 17, 3), np.float32), "model": Model().eval()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", sorted(RUNS))
def test_the_code_of_a_page_runs(name, run_folder, monkeypatch):
    monkeypatch.chdir(run_folder)
    monkeypatch.setenv("BENCH_RESULTS", str(run_folder / "results"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # the page sets it, for all of this process: taken back afterwards
    names = prepare(run_folder)
    for block in blocks(ROOT / "docs" / "how-to" / name):
        exec(compile(block, name, "exec"), names)
    expected = {
        "tracking.md": lambda: names["poses_3d"].shape == (8, 27, 17, 3) and len(names["runs"]) == 1,
        "in-the-wild.md": lambda: names["lifted"].poses_3d.shape == (40, 17, 3) and Path("clip.csv").is_file(),
        "scoring.md": lambda: Path("mine.npz").is_file() and Path("mine.onnx").is_file() and Path("mine.pt").is_file(),
    }
    assert expected[name]()


def test_no_page_with_code_is_forgotten():
    with_code = {page.name for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if blocks(page)}
    assert with_code == RUNS | ELSEWHERE | PUBLISHED
