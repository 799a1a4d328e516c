"""Runs are logged by whatever tracker there is, whatever their actions are called; no room but one knows MLflow."""

from __future__ import annotations

import ast
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from samples import VIDEOS, toy_dataset

from baselines.videopose3d import VideoPose3D
from bench.config import load_benchmark
from bench.data import split
from bench.results import records, tracking
from bench.results.records import Record
from bench.results.tracking import mlflow_store
from bench.results.tracking.null import NullInvocation, NullRun
from bench.runs.launch import run_benchmark
from bench.system.errors import BenchError

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

ROOT = Path(__file__).parents[2]
BENCHMARK = {
    "title": "Toys",
    "protocol": {
        "dataset": "toy", "keypoints": "gt", "frames": 9, "train_subjects": ["S1", "S2"], "test_subjects": ["S3"],
    },
    "methods": {
        "mean_pose": {},
        "videopose3d": {
            "model": {"dim": 8}, "recipe": {"epochs": 2, "batch_windows": 16, "learning_rate": 1e-3},
        },
    },
}  # fmt: skip


def run(tmp_path: Path, **options: Any) -> list[Record]:
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump(BENCHMARK), encoding="utf-8")
    return run_benchmark(load_benchmark(tmp_path / "toys.yaml"), device="cpu", **options)


class Notebook:
    """A tracker that is neither of the suite's: it notes in a list what is logged."""

    where: str | None = "my notebook"

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    @contextmanager
    def invocation(self, name: str, tags: Any) -> Iterator[Page]:
        self.notes.append(("invocation", name))
        yield Page(self.notes)


class Page(NullInvocation):
    def __init__(self, notes: list[tuple[Any, ...]]) -> None:
        self.notes = notes

    @contextmanager
    def run(self, name: str, **about: Any) -> Iterator[Entry]:
        self.notes.append(("run", name.partition("-")[0], about["params"]["method"]))
        entry = Entry(self.notes, f"page-{name}")
        yield entry
        self.notes.append(("end", name.partition("-")[0]))

    def compare(self, run_ids: Any) -> None:
        self.notes.append(("compare", len(run_ids)))


class Entry(NullRun):
    def __init__(self, notes: list[tuple[Any, ...]], run_id: str) -> None:
        self.notes, self.run_id = notes, run_id

    def metrics(self, step: int, values: Any) -> None:
        self.notes.append(("metrics", step, set(values)))

    def model(self, model: tracking.TrainedModel) -> None:
        self.notes.append(("model", model.method, model.frames, len(model.joints)))


def test_a_run_can_use_a_foreign_tracker(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(split, "load_dataset", lambda name, root, keypoints: toy_dataset())
    notebook = Notebook()
    stated: tracking.Tracker = notebook
    monkeypatch.setattr(tracking, "open_tracker", lambda benchmark, **options: stated)
    done = run(tmp_path)
    assert [note for note in notebook.notes if note[0] != "metrics"] == [
        ("invocation", "bench run toys"),
        ("run", "mean_pose", "mean_pose"),
        ("model", "mean_pose", 9, 17),
        ("end", "mean_pose"),
        ("run", "videopose3d", "videopose3d"),
        ("model", "videopose3d", 9, 17),
        ("end", "videopose3d"),
        ("compare", 2),
    ]
    steps = [(step, names) for kind, step, names in (note for note in notebook.notes if note[0] == "metrics")]
    assert [step for step, names in steps if "train/total" in names] == [1, 2]
    assert [step for step, names in steps if "test/mpjpe_mm" in names] == [0, 2]
    assert all(one.provenance.mlflow_run_id.startswith("page-") for one in done), "the record names the run in the log"
    assert capsys.readouterr().out == "", "the command line prints"


@pytest.fixture
def store(monkeypatch, empty_store, results_folder):
    """MLflow's client on a store of the test."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (results_folder / "mlflow").mkdir()
    shutil.copy(empty_store, results_folder / "mlflow" / "mlflow.db")
    return mlflow_store._client(mlflow_store.store_uri())


def test_actions_of_any_script_are_trained_recorded_and_logged(tmp_path, monkeypatch, store, capsys):
    names = {"sit": "歩く", "walk": "Ходьба/pck@150"}
    videos = [(subject, names[action], *rest) for subject, action, *rest in VIDEOS]
    monkeypatch.setattr(split, "load_dataset", lambda name, root, keypoints: toy_dataset(videos))
    run(tmp_path, methods=["mean_pose"])
    (record,) = records.load("toys")
    assert set(record.per_action) == set(names.values())
    metrics = store.get_run(record.provenance.mlflow_run_id).data.metrics
    logged = [value for name, value in metrics.items() if name.startswith("test/mpjpe_mm/")]
    assert sorted(logged) == pytest.approx(sorted(one["mpjpe"] for one in record.per_action.values()), rel=1e-5)
    assert "tracking" not in capsys.readouterr().err


def test_a_run_stopped_by_an_infinite_loss_term_can_be_repeated(tmp_path, monkeypatch, store):
    monkeypatch.setattr(split, "load_dataset", lambda name, root, keypoints: toy_dataset())
    loss = VideoPose3D.loss

    def with_a_term(self, batch, generator=None):
        return loss(self, batch, generator) | {"aux": torch.tensor(math.inf)}

    with monkeypatch.context() as patch:
        patch.setattr(VideoPose3D, "loss", with_a_term)
        with pytest.raises(BenchError, match="aux"):
            run(tmp_path, methods=["videopose3d"])
    (record,) = run(tmp_path, methods=["videopose3d"])
    logged = store.get_run(record.provenance.mlflow_run_id)
    assert logged.info.status == "FINISHED"
    assert [point.step for point in store.get_metric_history(logged.info.run_id, "train/total")] == [1, 2]


def identifiers(path: Path) -> Iterator[str]:
    """Every name in the code of a file: imported, assigned, called or passed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.name for alias in node.names)
            yield getattr(node, "module", None) or ""
        for field in ("id", "attr", "arg", "name"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


def test_no_code_outside_of_tracking_names_mlflow():
    inside = ROOT / "bench" / "results" / "tracking"
    for package in ("bench", "baselines", "diff3dhpe"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found = {name for name in identifiers(path) if "mlflow" in name.lower()} - {"mlflow_run_id"}
            assert path.is_relative_to(inside) or not found, path.relative_to(ROOT)
