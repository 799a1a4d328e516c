"""A result is not lost: whatever fails after training, the record is there, and nothing trains twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
import yaml
from samples import TOYS, toy_dataset

from bench.cli import main
from bench.config import load_benchmark
from bench.data import split
from bench.results import records
from bench.runs import launch, log
from bench.runs.launch import run_benchmark, run_plan
from bench.runs.plan import Run, make_plan
from bench.system import paths
from bench.system.errors import BenchError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def toys(monkeypatch, tmp_path) -> None:
    """The toy data set, and a current folder with `toys.yaml`."""
    monkeypatch.setattr(split, "load_dataset", lambda name, root, keypoints: toy_dataset())
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump(TOYS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def planned(*changes: str, **options: Any):
    return make_plan(load_benchmark("toys.yaml", changes), **options)


def run(*changes: str, **options: Any) -> dict[str, records.Record]:
    found = run_benchmark(load_benchmark("toys.yaml", changes), device="cpu", track=False, **options)
    return {record.method: record for record in found}


def trained() -> Run:
    """The run of VideoPose3D, finished."""
    run(methods=["videopose3d"])
    (found,) = planned(methods=["videopose3d"]).runs
    assert found.finished
    return found


def refuse(what: str):
    def refused(*_: Any, **__: Any) -> None:
        pytest.fail(what)

    return refused


# The record comes first


def test_a_run_stopped_before_its_record_has_its_place_is_not_finished(monkeypatch):
    """Else the record would exist in the folder of the run alone, and no table would ever show it."""

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(records, "keep", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(methods=["videopose3d"])
    assert not planned(methods=["videopose3d"]).runs[0].finished
    monkeypatch.setattr("bench.training.loop._run_epoch", refuse("trained again"))
    run(methods=["videopose3d"])
    assert [one.method for one in records.load("toys")] == ["videopose3d"]


@pytest.mark.parametrize("part", ["log_outcome", "log_picture", "log_weights", "log_model"])
def test_a_failure_after_the_record_is_reported_and_the_run_is_finished(part, monkeypatch, capsys):
    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(launch, part, broken)
    assert run(methods=["videopose3d"])["videopose3d"].metrics["mpjpe"].value > 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "not in the log" in line]
    assert "No space left on device" in line
    assert planned(methods=["videopose3d"]).runs[0].finished
    assert len(records.load("toys")) == 1


def test_the_record_is_written_before_anything_is_drawn_or_logged(monkeypatch):
    def check(*_: Any) -> None:
        assert planned(methods=["videopose3d"]).runs[0].finished
        assert len(records.load("toys")) == 1

    for part in ("log_outcome", "log_picture", "log_weights", "log_model"):
        monkeypatch.setattr(launch, part, check)
    run(methods=["videopose3d"])


def test_missing_weights_are_reported_and_lose_no_result(capsys):
    found = trained()
    before = found.record_file.read_text()
    found.record_file.unlink()
    found.weights_file.unlink()
    again = run(methods=["videopose3d"])["videopose3d"]
    assert again.metrics == records.Record.model_validate_json(before).metrics
    assert "its weights not in the log" not in capsys.readouterr().err, "nothing is tracked"


def test_missing_weights_are_no_error_for_the_log(capsys):
    found = trained()
    found.record_file.unlink()
    found.weights_file.unlink()
    run_benchmark(load_benchmark("toys.yaml"), device="cpu", methods=["videopose3d"])
    said = capsys.readouterr().err
    assert "its model not in the log" in said
    assert "Traceback" not in said
    assert found.finished


# Nothing trains twice


@pytest.mark.parametrize("gone", [("last.pt",), ("last.pt", "training.json"), ("training.json",)])
def test_predictions_are_scored_without_training_again_whatever_checkpoint_is_gone(gone, monkeypatch):
    found = trained()
    before = found.record
    assert before is not None
    found.record_file.unlink()
    for name in gone:
        (found.folder / name).unlink()
    monkeypatch.setattr("bench.training.loop._run_epoch", refuse("trained again"))
    monkeypatch.setattr(launch, "predict", refuse("lifted again"))
    again = run(methods=["videopose3d"])["videopose3d"]
    assert not any(records.differences(again, before).values())
    if "training.json" not in gone:
        assert again.training == before.training, "and the record says how it was trained"


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_an_empty_or_damaged_record_is_not_a_finished_run(text, monkeypatch):
    found = trained()
    before = found.record
    found.record_file.write_text(text)
    assert not found.finished
    assert found.state == "score"
    monkeypatch.setattr("bench.training.loop._run_epoch", refuse("trained again"))
    again = run(methods=["videopose3d"])["videopose3d"]
    assert before is not None
    assert not any(records.differences(again, before).values())


# Refused before anything is trained


@pytest.mark.parametrize("model", [{"dim": 8, "channels": "/home/somebody/net.yaml"}, {"dim": 8, "x": "~/net"}])
def test_a_hyperparameter_that_looks_like_a_path_is_refused_by_the_plan(model, tmp_path, monkeypatch):
    content = {**TOYS, "methods": {"mean_pose": {}, "videopose3d": {"model": model}}}
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr(Run, "build", lambda self, joints: refuse("built")())
    with pytest.raises(BenchError, match="looks like a path of this machine"):
        planned(methods=["videopose3d"])


# One run does not stop another


def test_a_run_that_fails_does_not_stop_the_others(monkeypatch, capsys):
    def diverge(*_: Any, **__: Any) -> None:
        raise BenchError("videopose3d: the loss is nan")

    monkeypatch.setattr("bench.training.loop._run_epoch", diverge)
    content = {**TOYS, "methods": {"videopose3d": TOYS["methods"]["videopose3d"], "mean_pose": {}}}
    Path("toys.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["run", "toys.yaml", "--no-track", "--device", "cpu"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert re.search(r"^ *mean_pose .*\d", said.out, re.MULTILINE), "the other one stands in the table"
    assert re.search(r"^failed +videopose3d-s0-\w{8}: videopose3d: the loss is nan$", said.out, re.MULTILINE)
    assert said.out.rstrip().endswith("1 of 2 runs failed; the same command tries them again")
    assert "Traceback" not in said.err


def test_an_error_not_caused_by_the_user_has_a_traceback_and_exits_with_1(monkeypatch, capsys):
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr("bench.training.loop._run_epoch", broken)
    with pytest.raises(SystemExit) as ended:
        main(["run", "toys.yaml", "--no-track", "--device", "cpu"])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "Traceback" in said.err
    assert re.search(r"^failed +videopose3d-s0-\w{8}: CUDA error$", said.out, re.MULTILINE)


def test_a_run_that_another_process_holds_is_skipped_and_reported():
    plan = planned()
    held = plan.runs[1]
    held.folder.mkdir(parents=True)
    with filelock.FileLock(held.folder / ".lock"):
        finished = run_plan(plan, CPU, track=False)
    assert (finished.elsewhere, finished.failed) == ([held.name], {})
    assert [record.method for record in finished.records] == ["mean_pose"]


# One run of the plan


def test_only_does_the_run_with_a_key_of_the_plan(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["run", "toys.yaml", "--seeds", "2", "--dry-run", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert [(one["method"], one["seed"], one["state"]) for one in shown["runs"]] == [
        ("mean_pose", 0, "fit and test"),
        ("videopose3d", 0, "train"),
        ("mean_pose", 1, "fit and test"),
        ("videopose3d", 1, "train"),
    ]
    wanted = shown["runs"][2]
    with pytest.raises(SystemExit, match="0"):
        main(["run", "toys.yaml", "--seeds", "2", "--only", wanted["key"], "--no-track", "--device", "cpu"])
    assert [one.run_key for one in records.load("toys")] == [wanted["key"]]
    with pytest.raises(SystemExit, match="0"):
        main(["run", "toys.yaml", "--seeds", "2", "--dry-run", "--json"])
    after = json.loads(re.search(r"^{.*", capsys.readouterr().out, re.MULTILINE | re.DOTALL)[0])
    states = [one["state"] for one in after["runs"]]
    assert states.count("finished") == 1


@pytest.mark.parametrize("key", ["", "0123456789abcdef"])
def test_a_key_of_no_run_or_of_several_is_refused_with_the_known_keys(key):
    with pytest.raises(BenchError, match=r"no run|several runs"):
        planned().only(key)


# Own numbers and published ones


def another_training(record: records.Record, **changes: Any) -> records.Record:
    """The record of the same run, as somebody else's training of it left it."""
    elsewhere = record.provenance.model_copy(update={"finished_at": "2020-01-01T00:00:00+00:00"})
    content = record.model_copy(update={"provenance": elsewhere}).model_dump(mode="json", by_alias=True)
    for name, value in changes.items():
        content["metrics"][name]["value"] = value
    return records.Record.model_validate(content)


def test_neither_a_published_record_nor_ones_own_is_replaced(capsys):
    own = trained()
    mine = own.record
    assert mine is not None
    published = paths.records() / mine.path
    theirs = another_training(mine, mpjpe=mine.metrics["mpjpe"].value + 1)
    published.write_text(records.text(theirs))
    before = published.read_bytes()
    own.record_file.unlink()  # scored again: the record of this checkout
    with pytest.raises(SystemExit, match="0"):
        main(["run", "toys.yaml", "--methods", "videopose3d", "--no-track", "--device", "cpu"])
    assert published.read_bytes() == before
    kept = records.read(paths.own_records() / mine.path)
    assert kept.metrics == mine.metrics
    said = capsys.readouterr().out
    here, there = mine.metrics["mpjpe"].value, theirs.metrics["mpjpe"].value
    assert f"yours {here:.1f} mm, published record {there:.1f} mm; " in said
    (row,) = re.findall(r"^VideoPose3D +0 .*", said, re.MULTILINE)  # seed 0
    assert f"{here:.1f}" in row, "the table shows this run"


def test_a_run_with_the_numbers_of_the_published_record_reproduces_it(capsys):
    own = trained()
    assert own.record is not None
    (paths.records() / own.record.path).write_text(records.text(another_training(own.record)))
    own.record_file.unlink()
    with pytest.raises(SystemExit, match="0"):
        main(["run", "toys.yaml", "--methods", "videopose3d", "--no-track", "--device", "cpu"])
    assert re.search(r"^record +\S+  \(reproduced\)$", capsys.readouterr().out, re.MULTILINE)


# Trials


def test_a_trial_leaves_no_record_among_those_of_the_benchmark():
    run("methods.videopose3d.recipe.epochs=1")
    assert [one.method for one in records.load("toys")] == ["mean_pose"], "no recipe changes what is not trained"
    (trial,) = records.load("toys", paths.trial_records())
    assert trial.recipe["epochs"] == 1
    run()
    assert sorted(one.method for one in records.load("toys")) == ["mean_pose", "videopose3d"]


def test_a_trial_that_becomes_what_the_file_states_gets_its_place_among_the_records():
    run("methods.videopose3d.recipe.epochs=1", methods=["videopose3d"])
    assert records.load("toys") == []
    content = yaml.safe_load(Path("toys.yaml").read_text())
    content["methods"]["videopose3d"]["recipe"]["epochs"] = 1
    Path("toys.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    run(methods=["videopose3d"])
    assert [one.recipe["epochs"] for one in records.load("toys")] == [1]
    assert records.load("toys", paths.trial_records()) == []


def test_the_recipe_gives_a_method_that_is_not_trained_no_new_key():
    keys = {planned(change, methods=["mean_pose"]).runs[0].key for change in ("recipe.epochs=7", "recipe.flip=false")}
    assert keys == {planned(methods=["mean_pose"]).runs[0].key}


def test_what_is_stated_at_its_default_gives_no_new_key():
    changes = ("methods.videopose3d.recipe.optimizer=adamw", "protocol.averaging=actions", "protocol.flip_test=true")
    stated = planned(*changes, methods=["videopose3d"]).runs[0]
    assert stated.key == planned(methods=["videopose3d"]).runs[0].key
    assert not stated.trial


def test_a_finished_run_is_scored_again_by_a_later_way_to_score(monkeypatch):
    found = trained()
    before = found.record
    assert before is not None
    assert before.scoring_revision == launch.SCORING_REVISION
    monkeypatch.setattr(launch, "SCORING_REVISION", before.scoring_revision + 1)
    monkeypatch.setattr("bench.training.loop._run_epoch", refuse("trained again"))
    again = run(methods=["videopose3d"])["videopose3d"]
    assert again.scoring_revision == before.scoring_revision + 1
    assert again.precision == before.precision == "float32"
    assert np.isclose(again.metrics["mpjpe"].value, before.metrics["mpjpe"].value)


def test_as_a_library_a_benchmark_runs_in_silence(capfd):
    (record,) = run_benchmark(load_benchmark("toys.yaml"), device="cpu", methods=["videopose3d"], quiet=True)
    assert record.metrics
    assert capfd.readouterr() == ("", "")


def test_a_finished_run_that_another_process_scores_again_is_left_to_it(monkeypatch, capsys):
    found = trained()
    monkeypatch.setattr(launch, "SCORING_REVISION", launch.SCORING_REVISION + 1)
    with filelock.FileLock(found.folder / ".lock"):
        finished = run_plan(planned(methods=["videopose3d"]), CPU, track=False)
    assert [record.run_key for record in finished.records] == [found.key]
    assert "another process" in capsys.readouterr().err


def test_parts_of_the_log_are_independent(capsys):
    done = []

    def broken() -> None:
        raise ValueError("no")

    log.log_all("run", {"this": broken, "that": lambda: done.append(1)})
    assert done == [1]
    assert capsys.readouterr().err == "run: this not in the log: ValueError: no\n"
