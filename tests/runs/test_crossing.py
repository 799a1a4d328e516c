"""Trained on one data set, tested on another: the joints, the scores, and whole runs from files of both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from samples import (
    MPI_INF_3DHP_VALID,
    h36m_positions,
    mpi_inf_3dhp,
    save_3dhp,
    save_h36m,
    toy_dataset,
)

from bench import Method, Window, evaluate, load_benchmark, load_dataset
from bench.cli import main
from bench.config import Protocol
from bench.data.split import Split
from bench.data.windows import scored_windows
from bench.evaluation import Predictions, score
from bench.geometry.skeleton import H36M_17, MPI_INF_3DHP_17
from bench.results import records
from bench.runs import launch
from bench.runs.forecast import forecast
from bench.runs.launch import run_benchmark
from bench.runs.log import inputs, parameters, tags
from bench.runs.plan import make_plan, plan
from bench.system.errors import BenchError

LIMBS = ["hip", "knee", "ankle", "shoulder", "elbow", "wrist"]
SCORED = {"pelvis", *(f"{side} {joint}" for side in ("left", "right") for joint in LIMBS)}

# Where each of Human3.6M's joints is found among those of MPI-INF-3DHP, written down apart from the code.
PLACES = [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]

PROTOCOL: dict[str, Any] = {
    "train": {"dataset": "h36m", "keypoints": "gt"},
    "test": {"dataset": "3dhp", "keypoints": "gt"},
    "frames": 9,
    "train_subjects": ["S1", "S5", "S8"],
    "validation_subjects": ["S8"],
    "test_subjects": list(MPI_INF_3DHP_VALID),
    "test_videos": 6,
    "averaging": "frames",
}
PSTMO: dict[str, Any] = {
    "model": {"dim": 16, "depth": 2, "heads": 2, "hidden": 16},
    "recipe": {"epochs": 2, "batch_windows": 16, "learning_rate": 1e-3},
    "stages": {"pretrain": {"recipe": {"epochs": 1}}},
}
MIXSTE = {"model": {"dim": 16, "depth": 1, "heads": 2}, "recipe": {"epochs": 2, "batch_windows": 8}}
METHODS = {"mean_pose": None, "mixste": MIXSTE}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data folder with the files of both."""
    root = tmp_path_factory.mktemp("data")
    save_h36m(root / "h36m", *h36m_positions())
    save_3dhp(root / "3dhp", *mpi_inf_3dhp())
    return root


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(folder: Path, methods: dict[str, Any] = METHODS, **changes: Any) -> Path:
    path = folder / "crossing.yaml"
    content = {"title": "Crossing", "protocol": PROTOCOL | changes, "methods": methods}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def succeeds(command: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0


def split(data: Path, **changes: Any) -> Split:
    protocol = Protocol.model_validate(PROTOCOL | changes)
    sources = (protocol.trained_on, protocol.tested_on)
    return Split.of(protocol, *(load_dataset(one.dataset, data, one.keypoints) for one in sources))


# Joints


def test_the_test_set_comes_in_the_joints_of_the_training_set(data):
    found, own = split(data).testing, load_dataset("3dhp", data).subset(MPI_INF_3DHP_VALID)
    assert found.skeleton == H36M_17
    assert torch.equal(found.keypoints_2d, own.keypoints_2d[:, PLACES])
    assert torch.equal(found.poses_3d, own.poses_3d[:, PLACES])
    assert not found.poses_3d[:, H36M_17.root].any()
    assert {H36M_17.joints[joint] for joint in found.scored or ()} == SCORED
    assert torch.equal(found.valid, own.valid)
    assert found.subset(["TS6"]).scored == found.scored
    assert own.scored is None
    assert own.in_joints_of(MPI_INF_3DHP_17) is own


def test_a_split_of_one_data_set_is_parts_of_it():
    protocol = Protocol(
        dataset="toy",
        keypoints="gt",
        frames=9,
        train_subjects=("S1", "S2"),
        validation_subjects=("S2",),
        test_subjects=("S3",),
    )
    dataset = toy_dataset()
    found = Split.of(protocol, dataset)
    parts = (found.training, found.validation, found.testing)
    assert [list(part.sequences["subject"].unique()) for part in parts if part] == [["S1"], ["S2"], ["S3"]]
    assert found.everything is dataset
    assert not found.crosses
    assert found.testing.scored is None


# Scores


class Knows(Method):
    """Finds its one frame in a data set of MPI-INF-3DHP by a wrist, and answers with the pose in Human3.6M's joints."""

    name = "knows"
    window = Window(1)

    def __init__(self, dataset) -> None:
        super().__init__()
        self.dataset = dataset

    def lift(self, keypoints_2d, *, generator=None):
        wrists = keypoints_2d[:, 0, H36M_17.joints.index("left wrist")]
        rows = torch.cdist(wrists, self.dataset.keypoints_2d[:, MPI_INF_3DHP_17.joints.index("left wrist")]).argmin(1)
        poses = self.dataset.poses_3d[rows][:, None, PLACES].clone()
        poses[:, :, [7, 8, 9, 10]] = 9.0  # what the data do not have is not held against anybody
        return poses


@pytest.mark.parametrize("part", ["whole data set", "test subjects"])
def test_a_lifter_that_knows_the_poses_makes_no_error(data, part):
    dataset = load_dataset("3dhp", data)
    dataset = dataset if part == "whole data set" else dataset.subset(MPI_INF_3DHP_VALID)
    scores = evaluate(Knows(dataset), dataset, Protocol.model_validate(PROTOCOL), flip=False)
    assert scores.errors.shape == (sum(map(sum, MPI_INF_3DHP_VALID.values())), 13)
    for name, value in scores.summary.items():
        assert value == pytest.approx(100 if name.startswith("pck150") else 0, abs=1e-3), name
    assert set(scores.joints) == SCORED
    assert "pck" not in scores.summary, "the official PCK has two joints that are not scored"


def test_errors_are_means_over_the_joints_that_are_scored(data):
    testing = split(data).testing
    poses = testing.poses_3d.numpy().copy()
    poses[:, H36M_17.joints.index("right knee")] += [0, 0.03, 0.04]
    poses[:, H36M_17.joints.index("thorax")] += 1
    poses[:, H36M_17.root] = [0.026, 0, 0]
    table = scored_windows(testing, Window(1))
    scores = score(Predictions(Window(1), table, poses[testing.counted][:, None]), testing, "frames")
    assert scores.per_joint == pytest.approx({joint: 50.0 * (joint == "right knee") for joint in SCORED}, abs=1e-3)
    assert scores.summary["mpjpe"] == pytest.approx(50 / 13, rel=1e-4)
    assert scores.summary["mpjpe_raw_root"] == pytest.approx((50 + 26) / 13, rel=1e-4)


def test_from_3dhp_to_human36m_the_same_joints_are_scored(data):
    found = split(
        data,
        train=PROTOCOL["test"],
        test=PROTOCOL["train"],
        train_subjects=["S1", "S2"],
        validation_subjects=[],
        test_subjects=["S1", "S9"],
        test_videos=None,
    ).testing
    own = load_dataset("h36m", data).subset(["S1", "S9"])
    assert torch.equal(found.poses_3d[:, PLACES], own.poses_3d)
    table = scored_windows(found, Window(1))
    scores = score(Predictions(Window(1), table, found.poses_3d[:, None].numpy()), found)
    assert set(scores.joints) == SCORED
    assert scores.units.keys() == {"mpjpe", "p_mpjpe", "n_mpjpe", "mpjve", "mpjpe_raw_root", "pck150", "accel"}
    assert np.abs(scores.errors).max() == 0


# Runs


def test_a_benchmark_runs_from_one_data_set_to_another_and_only_once(data, file, results_folder, capsys):
    command = ["run", str(file), "--data", str(data), "--device", "cpu", "--no-track"]
    succeeds(command)
    out = capsys.readouterr().out
    assert "data        h36m, gt keypoints, 50 fps, to train on" in out
    assert "data        3dhp, gt keypoints, 25 fps, to test on: 13 of 17 joints are scored" in out
    assert "train       S1, S5: 12 videos, 124 frames, S8 held out" in out
    assert "test        TS1, TS2, TS3, TS4, TS5, TS6: 6 videos, 33 frames, 16 valid" in out
    assert "Trained on h36m (gt keypoints), tested on 3dhp (gt keypoints)" in out
    paths = sorted((results_folder / "records" / "crossing").glob("*.json"))
    found = [json.loads(path.read_text()) for path in paths]
    assert [one["method"] for one in found] == ["mean_pose", "mixste"]
    for one in found:
        assert one["data"] == {"dataset": "3dhp", "keypoints": "gt", "trained_on": PROTOCOL["train"]}
        assert (one["frames"], one["sequences"], set(one["per_joint"])) == (16, 6, SCORED)
        assert "pck" not in one["metrics"]
        assert one["metrics"]["mpjpe"]["value"] > 1
        assert one["provenance"]["data_fingerprint"] == load_dataset("3dhp", data).fingerprint
        assert one["training"]["data_fingerprint"] == load_dataset("h36m", data).fingerprint
        assert one["protocol"]["train"] == PROTOCOL["train"]
        assert "dataset" not in one["protocol"]
    assert found[1]["training"]["best_epoch"] in (1, 2), "validated on a subject of the training data"
    succeeds(command)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "-s0-" in line and "record" not in line]
    assert [line[1] for line in lines] == ["finished", "finished"]


def test_a_stopped_run_continues_and_ends_the_same(data, file, monkeypatch, capsys):
    def stop(*args: Any, **options: Any) -> None:
        raise InterruptedError

    options: dict[str, Any] = {"data": data, "methods": ("mixste",), "device": "cpu", "track": False}
    with monkeypatch.context() as patched:
        patched.setattr(launch, "_log_epoch", stop)
        with pytest.raises(InterruptedError):
            run_benchmark(load_benchmark(file), **options)
    (stopped,) = run_benchmark(load_benchmark(file), **options)
    assert "continue after epoch 1" in capsys.readouterr().err
    monkeypatch.setenv("BENCH_RESULTS", str(file.parent / "elsewhere"))
    (straight,) = run_benchmark(load_benchmark(file), **options)
    assert records.differences(stopped, straight).keys() == straight.metrics.keys()
    assert not any(records.differences(stopped, straight).values())


def test_a_run_depends_on_both_data_sets_and_a_stage_on_its_training_data(data, file):
    found = split(data)
    stated = load_benchmark(write(file.parent, {"pstmo": PSTMO}))

    def keys(**fingerprints: str) -> tuple[str, str]:
        parts = {part: replace(getattr(found, part), fingerprint=name) for part, name in fingerprints.items()}
        (run,) = plan(stated, replace(found, **parts))
        return run.key, run.stages[0].key

    run, stage = keys()
    assert keys() == (run, stage)
    assert keys(testing="x")[0] != run != keys(training="x")[0]
    assert keys(testing="x")[1] == stage != keys(training="x")[1]


def test_mlflow_sees_both_data_sets(data, file):
    found = split(data)
    logged = {one.context: one for one in inputs(Protocol.model_validate(PROTOCOL), found.testing, found.training)}
    assert (logged["train"].name, logged["test"].name) == ("h36m-gt", "3dhp-gt")
    assert logged["train"].tags["sha256"] == found.training.fingerprint
    about = tags({"git": {"sha": None, "dirty": None}, "packages": {}}, found.testing, found.training)
    assert (about["data_sha256"], about["training_data_sha256"]) == (
        found.testing.fingerprint,
        found.training.fingerprint,
    )
    (run,) = plan(load_benchmark(file), found, ["mean_pose"])
    shown = parameters(run)
    assert (shown["protocol.train.dataset"], shown["protocol.test.dataset"]) == ("h36m", "3dhp")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_subjects": ["S9"]}, "3dhp: no subject 'S9'"),
        ({"train_subjects": ["S1", "S2", "S8"]}, "h36m: no subject 'S2'"),
        ({"test": {"dataset": "3dhp", "keypoints": "cpn"}}, "No 3dhp keypoints 'cpn'"),
        ({"test": {"dataset": "3dph", "keypoints": "gt"}}, "No data set '3dph'"),
    ],
)
def test_missing_data_are_reported_before_training(data, tmp_path, changes, message, results_folder):
    with pytest.raises(BenchError, match=message):
        run_benchmark(load_benchmark(write(tmp_path, **changes)), data=data, track=False)
    assert not (results_folder / "cache" / "runs").exists()


def test_fewer_test_videos_than_stated_are_reported(data, tmp_path):
    stated = load_benchmark(write(tmp_path, test_subjects=["TS1"]))
    shown = str(forecast(make_plan(stated, data=data, methods=["mean_pose"]), torch.device("cpu")))
    assert "the whole test set has 6 videos: no table will show these runs" in shown
