"""Runs side by side: the same numbers, the same log, and one that fails or is killed stops no other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import misbehaving
import mlflow
import numpy as np
import pytest
import torch
import yaml
from samples import TOYS, toy_dataset

from bench.config import load_benchmark
from bench.data import split
from bench.method import checkpoint, registry
from bench.runs.forecast import forecast
from bench.runs.launch import run_benchmark, run_plan
from bench.runs.plan import Plan, make_plan
from bench.runs.work import expected_seconds
from bench.system.errors import BenchError

CPU = torch.device("cpu")
PSTMO = {
    "model": {"dim": 16, "depth": 2, "heads": 2, "hidden": 16},
    "recipe": {"epochs": 2, "batch_windows": 16, "learning_rate": 1e-3},
    "stages": {"pretrain": {"recipe": {"epochs": 2}}},
}

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture(autouse=True)
def toys(monkeypatch, tmp_path) -> None:
    """The toy data set, which workers receive as it is, since it lies in no cache."""
    monkeypatch.setattr(split, "load_dataset", lambda name, root, keypoints: toy_dataset())
    monkeypatch.chdir(tmp_path)


def benchmark(*changes: str, **methods: Any):
    content = TOYS | {"methods": TOYS["methods"] | methods}
    Path("toys.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load_benchmark("toys.yaml", changes)


def test_two_at_a_time_give_the_same_numbers_and_one_parent_in_the_log(
    monkeypatch, results_folder, empty_store, tmp_path, capsys
):
    (results_folder / "mlflow").mkdir()
    shutil.copy(empty_store, results_folder / "mlflow" / "mlflow.db")
    stated = benchmark(pstmo=PSTMO)
    beside = run_benchmark(stated, device="cpu", jobs=2)
    said = capsys.readouterr().err
    runs = make_plan(stated).runs
    folders = [run.folder for run in runs]
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "alone"))
    alone = run_benchmark(stated, device="cpu", track=False, quiet=True)
    assert [record.method for record in beside] == ["mean_pose", "videopose3d", "pstmo"], "in the order of the plan"
    for one, other in zip(beside, alone, strict=True):
        assert (one.run_key, one.metrics, one.blocks) == (other.run_key, other.metrics, other.blocks)
        assert one.training.get("final_loss") == other.training.get("final_loss")
    for here, there in zip(folders, (run.folder for run in runs), strict=True):
        assert here != there
        with np.load(here / "predictions.npz") as mine, np.load(there / "predictions.npz") as theirs:
            assert all((mine[name] == theirs[name]).all() for name in (*mine.files, *theirs.files))
        ours, others = (checkpoint.load(folder / "weights.pt")["method"] for folder in (here, there))
        assert ours.keys() == others.keys()
        assert all(torch.equal(ours[name], others[name]) for name in ours)

    assert re.search(r"^pstmo-s0-\w{8}: epoch 2/2  loss ", said, re.MULTILINE), "plain lines where there is no terminal"
    assert re.search(r"^pstmo-s0-\w{8}: [\d.]+ mm; \d of 3 runs done", said, re.MULTILINE)
    client = mlflow.MlflowClient(f"sqlite:///{results_folder / 'mlflow' / 'mlflow.db'}")
    logged = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    (parent,) = [one for one in logged if "mlflow.parentRunId" not in one.data.tags]
    children = [one for one in logged if one.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    names = sorted(one.info.run_name.rsplit("-", 2)[0] for one in children)
    assert names == ["mean_pose", "pstmo", "pstmo-pretrain", "videopose3d"]
    assert {one.info.status for one in logged} == {"FINISHED"}
    assert "Compare the 3 runs" in parent.data.tags["mlflow.note.content"]
    assert {record.provenance.mlflow_run_id for record in beside} <= {one.info.run_id for one in children}


def test_a_stage_that_two_runs_share_is_trained_once(capsys):
    plans = [
        make_plan(benchmark(f"methods.pstmo.recipe.epochs={epochs}", pstmo=PSTMO), methods=["pstmo"])
        for epochs in (1, 2)
    ]
    whole = Plan(plans[0].benchmark, plans[0].split, (*plans[0].runs, *plans[1].runs))
    assert whole.runs[0].stages[0].folder == whole.runs[1].stages[0].folder
    done = run_plan(whole, CPU, track=False, jobs=2)
    done.check()
    assert [record.training["epochs"] for record in done.records] == [1, 2]
    said = capsys.readouterr().err
    states = re.findall(r"^pstmo-pretrain-s0-\w{8}: (train|finished)$", said, re.MULTILINE)
    assert states == ["train", "finished"]


def test_a_run_that_fails_or_is_killed_stops_no_other(monkeypatch, results_folder, empty_store, capsys):
    (results_folder / "mlflow").mkdir()
    shutil.copy(empty_store, results_folder / "mlflow" / "mlflow.db")
    for method in (misbehaving.Broken, misbehaving.Greedy):
        monkeypatch.setitem(registry._registered, method.name, method)
    done = run_plan(make_plan(benchmark(broken={}, greedy={})), CPU, jobs=2)
    assert [record.method for record in done.records] == ["mean_pose", "videopose3d"]
    broken, greedy = (done.failed[name] for name in sorted(done.failed))
    assert type(broken) is ZeroDivisionError
    assert type(greedy) is BenchError
    assert "killed by SIGKILL, perhaps for want of memory; try fewer --jobs" in str(greedy)
    said = capsys.readouterr().err
    assert said.count("Traceback") == said.count("ZeroDivisionError: a bug of the method") == 1
    assert re.search(r"^broken-s0-\w{8}: about to break$", said, re.MULTILINE), "what a worker prints is named"
    assert re.search(r"^greedy-s0-\w{8}: a last word$", said, re.MULTILINE)
    client = mlflow.MlflowClient(f"sqlite:///{results_folder / 'mlflow' / 'mlflow.db'}")
    logged = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    status = {one.info.run_name.partition("-s0")[0]: one.info.status for one in logged}
    assert status.pop("bench run toys") == "FINISHED"
    assert status == {"mean_pose": "FINISHED", "videopose3d": "FINISHED", "broken": "FAILED", "greedy": "KILLED"}
    with pytest.raises(ZeroDivisionError):
        done.check()


def test_a_method_that_no_other_process_can_import_is_refused_by_name(monkeypatch, capsys):
    class Local(misbehaving.MeanPose):
        name = "local"

    monkeypatch.setitem(registry._registered, "local", Local)
    done = run_plan(make_plan(benchmark(local={}), methods=["mean_pose", "local"]), CPU, track=False, jobs=2)
    assert [record.method for record in done.records] == ["mean_pose"]
    (error,) = done.failed.values()
    assert "use --jobs 1" in str(error)


def test_the_forecast_says_how_many_and_how_long():
    plan = make_plan(benchmark())
    text = str(forecast(plan, CPU, jobs=2))
    assert "  device      cpu, up to 2 runs at a time\n" in text
    assert re.search(r"about .* in all, .* one after another, estimated from a few steps$", text)
    assert "one after another" not in str(forecast(plan, CPU))


def test_expected_seconds():
    assert expected_seconds([(5, False), (3, False), (2, False)], jobs=1) == 10
    assert expected_seconds([(2, False), (3, False), (5, False)], jobs=2) == 5
    assert expected_seconds([(2, False), (3, False), (4, True)], jobs=2) == 7, "one that fills the machine runs alone"
