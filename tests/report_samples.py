"""One small benchmark whose numbers are known: two methods, each off by the same distance everywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from samples import toy_dataset

from bench.config import identity
from bench.data import kind_of
from bench.data.files import archive
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import scored_windows
from bench.evaluation import Predictions
from bench.method import Window, checkpoint
from bench.results.records import Record
from bench.results.sweeps import Outcome
from bench.show import sweeps
from bench.system import paths

MARKUP = "<img src=x onerror=document.title='owned'>"
BREAKOUT = "</script><script>document.title='owned'</script>"
CONFIG = """
title: "People & <b>markup</b>"
protocol: {dataset: h36m, keypoints: gt, frames: 9, train_subjects: [S1], test_subjects: [S9, S11]}
methods:
  mean_pose: {}
  mixste:
    model: {dim: 16}
    recipe: {epochs: 2}
  poseformer: {}
"""
VIDEOS = [("S9", "sit", f"sit {n}", "a", 20 + 10 * n) for n in range(1, 5)] + [("S11", "walk", "walk 1", "a", 700)]
OFF_MM = {"mean_pose": 120.0, "mixste": 30.0}


def dataset() -> PoseDataset:
    return replace(toy_dataset(VIDEOS), name="h36m", fingerprint=identity("toy"))


def record(method: str, **changes: Any) -> Record:
    mm = OFF_MM[method]
    joints = {joint: {"mpjpe": 0.0 if joint == "pelvis" else mm} for joint in dataset().skeleton.joints}
    fields: dict[str, Any] = {
        "run_key": identity([method, changes.get("seed", 0)]),
        "benchmark": "toy",
        "method": method,
        "seed": 0,
        "accounting": "shared",
        "data": {"dataset": "h36m", "keypoints": "gt"},
        "receptive_field": 9,
        "metrics": {
            "mpjpe": {"value": mm * 16 / 17, "unit": "mm", "ci": [mm - 5, mm + 5] if method == "mixste" else None},
            "p_mpjpe": {"value": mm / 2, "unit": "mm"},
        },
        "per_action": {"sit": {"mpjpe": mm}, "walk": {"mpjpe": mm + 1}, BREAKOUT: {"mpjpe": mm + 2}},
        "per_joint": joints,
        "frames": 880,
        "sequences": 5,
        "parameters": 0 if method == "mean_pose" else 33_650_435,
        "macs_per_frame": 0 if method == "mean_pose" else 573_456_789,
        "training": {"epochs": 2, "seconds": 12.5},
        "provenance": {
            "config_hash": "c0ffee",
            "data_fingerprint": identity("toy"),
            "packages": {"torch": "2.6"},
            "hardware": MARKUP,
            "finished_at": "2026-01-02T03:04:05+00:00",
        },
    }
    return Record.model_validate({"schema": 1, **fields, **changes})


def leave_runs() -> None:
    """Data in the cache, predictions of both methods, and the checkpoint of the one that is trained."""
    testing = dataset()
    archive.store(testing, paths.cache() / "data" / f"h36m-{kind_of('h36m', 'gt')}-{testing.fingerprint[:16]}")
    window = Window(9, "centre", stride=1)
    for method, mm in OFF_MM.items():
        folder = paths.cache() / "runs" / "toy" / record(method).path.stem
        poses = testing.poses_3d.numpy()[:, None].copy()
        poses[..., 2] += np.float32(mm / 1000)  # the root too: it counts as zero
        Predictions(window, scored_windows(testing, window), poses).save(folder / "predictions.npz")
    epochs = [{"epoch": n, "loss": {"total": 1 / (n + 1)}, "validation_mpjpe_mm": 50.0 - n} for n in range(2)]
    folder = paths.cache() / "runs" / "toy" / record("mixste").path.stem
    checkpoint.save({"history": epochs}, folder / "last.pt")


def leave_sweep() -> None:
    """The outcome of a sweep over hypotheses: their mean stays at 30 mm, the best of them comes to 20."""

    def point(combined: str, hypotheses: int, mm: float, ci: list[float] | None) -> dict[str, Any]:
        metrics = {"mpjpe": {"value": mm, "unit": "mm", "ci": ci}}
        about = {"method": "mixste", "seed": 0, "run_key": "a" * 64, "frames": 880, "sequences": 5}
        at = "2026-01-02T03:04:05+00:00"
        return {**about, "combined": combined, "value": hypotheses, "metrics": metrics, "finished_at": at}

    outcome = {
        "schema": 1,
        "benchmark": "toy",
        "title": "People",
        "sweep": "hypotheses",
        "knob": "hypotheses",
        "data": {"dataset": "h36m", "keypoints": "gt"},
        "protocol": {},
        "points": [
            point("mean", 1, 30, [29, 31]),
            point("mean", 5, 30, [29, 31]),
            point("best_oracle", 1, 30, [29, 31]),
            point("best_oracle", 5, 20, None),
        ],
        "provenance": record("mixste").provenance.model_dump(mode="json") | {"hardware": "a machine"},
    }
    sweeps.write(Outcome.model_validate(outcome))
