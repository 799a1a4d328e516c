"""Runs in stages, with published weights, and as published: what is trained, what is shared, what is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import yaml
from samples import TOYS, toy_dataset

import bench
from bench.config import Benchmark, load_benchmark
from bench.data import split
from bench.data.split import Split
from bench.evaluation import evaluate
from bench.method import weights
from bench.method.registry import method_class
from bench.results import records
from bench.runs import launch
from bench.runs.forecast import forecast
from bench.runs.launch import run_benchmark
from bench.runs.plan import Run, make_plan, plan, with_published_defects
from bench.show import tables
from bench.system.errors import BenchError

GOLDEN = Path(__file__).parents[1] / "golden"

STAGED: dict[str, Any] = {
    "title": "Staged",
    "protocol": {
        "dataset": "toy",
        "keypoints": "gt",
        "frames": 9,
        "train_subjects": ["S1", "S2"],
        "test_subjects": ["S3"],
    },
    "methods": {
        "mean_pose": {},
        "pstmo": {
            "model": {"dim": 16, "depth": 2, "heads": 2, "hidden": 16},
            "recipe": {"epochs": 2, "batch_windows": 16, "learning_rate": 1e-3},
            "stages": {"pretrain": {"model": {"masked_joints": 3}, "recipe": {"epochs": 3, "batch_windows": 32}}},
        },
        "pstmo-scratch": {
            "method": "pstmo",
            "model": {"dim": 16, "depth": 2, "heads": 2, "hidden": 16},
            "recipe": {"epochs": 2, "batch_windows": 16, "learning_rate": 1e-3},
        },
    },
}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """The toy data set, and imported weights in a folder of the test."""
    monkeypatch.setattr(split, "load_dataset", lambda name, root, keypoints: toy_dataset())
    monkeypatch.setattr(weights, "dataset_named", lambda name: ToyDataset)
    monkeypatch.setenv("BENCH_CHECKPOINTS", str(tmp_path / "checkpoints"))


class ToyDataset:
    skeleton = toy_dataset().skeleton


def benchmark(tmp_path: Path, *changes: str, **entries: Any):
    path = tmp_path / "staged.yaml"
    path.write_text(yaml.safe_dump(STAGED | ({"methods": entries} if entries else {})), encoding="utf-8")
    return load_benchmark(path, changes)


def run(tmp_path: Path, *changes: str, methods: tuple[str, ...] = ("pstmo",), track: bool = False, **options: Any):
    stated = benchmark(tmp_path, *changes)
    return {record.method: record for record in run_benchmark(stated, methods=methods, track=track, **options)}


def planned(stated: Benchmark, **options: Any) -> str:
    """The plan of a benchmark as it is printed."""
    return str(forecast(make_plan(stated, **options), torch.device("cpu")))


def runs(tmp_path: Path, *changes: str, **options: Any) -> list[Run]:
    stated = benchmark(tmp_path, *changes)
    return plan(stated, Split.of(stated.protocol, toy_dataset()), **options)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("micro_batch=2", "recipe.micro_batch cannot split its batches: its batch norms"),
        ("checkpoint_activations=true", "recipe.checkpoint_activations has no effect"),
    ],
)
def test_options_that_a_method_does_not_allow_are_found_before_any_training(change, problem, tmp_path, monkeypatch):
    path = tmp_path / "toys.yaml"
    path.write_text(yaml.safe_dump(TOYS), encoding="utf-8")
    monkeypatch.setattr(split, "load_dataset", lambda *names: toy_dataset())
    stated = load_benchmark(path, [f"methods.videopose3d.recipe.{change}"])
    with pytest.raises(BenchError, match=f"videopose3d: {problem}"):
        make_plan(stated)


# Stages


def test_the_plan_shows_every_stage(tmp_path):
    text = planned(benchmark(tmp_path), methods=("pstmo", "pstmo-scratch"))
    lines = [line.split() for line in text.splitlines() if "pstmo" in line]
    assert [line[0].rsplit("-", 2)[0] for line in lines] == ["pstmo-pretrain", "pstmo", "pstmo-scratch"]
    assert all(line[1] == "train" for line in lines)


def test_a_run_trains_its_stages_first_and_its_record_says_so(tmp_path, capsys):
    found = run(tmp_path, methods=("pstmo", "pstmo-scratch"))
    staged, scratch = found["pstmo"], found["pstmo-scratch"]
    stage = staged.training["stages"]["pretrain"]
    assert stage["epochs"] == 3
    assert stage["final_loss"] > 0
    assert staged.stages["pretrain"]["recipe"]["batch_windows"] == 32
    assert staged.stages["pretrain"]["model"] == {"masked_joints": 3}
    assert scratch.stages == {}
    assert "stages" not in scratch.training
    assert {one.registered for one in found.values()} == {"pstmo"}
    assert staged.metrics["mpjpe"].value != scratch.metrics["mpjpe"].value
    assert staged.cost is not None
    assert staged.cost.test_frames_per_second > 0
    run(tmp_path, methods=("pstmo", "pstmo-scratch"))
    rows = [line for line in capsys.readouterr().out.splitlines() if "-s0-" in line and "record" not in line]
    assert all("finished" in line for line in rows[-3:]), "the same again repeats nothing"


def test_the_encoder_is_taken_over(tmp_path, monkeypatch):
    adopted = []
    cls = method_class("pstmo")
    adopt = cls.adopt

    def noted(self, trained):
        adopt(self, trained)
        mine, theirs = self.network.encoder.state_dict(), trained.encoder.state_dict()
        adopted.append(all(torch.equal(mine[key], theirs[key]) for key in theirs))

    monkeypatch.setattr(cls, "adopt", noted)
    run(tmp_path)
    assert adopted == [True]


def test_a_run_stopped_in_a_stage_is_resumed_with_the_same_result(tmp_path, results_folder, monkeypatch):
    whole = run(tmp_path)["pstmo"]
    monkeypatch.setenv("BENCH_RESULTS", str(results_folder / "other"))

    def stop(log, epoch, **_):
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launch, "_log_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    stage, after = (one.state for one in (runs(tmp_path)[1].stages[0], runs(tmp_path)[1]))
    assert (stage, after) == ("continue after epoch 2", "train")
    again = run(tmp_path)["pstmo"]
    assert again.metrics == whole.metrics
    assert again.run_key == whole.run_key


def test_a_stage_is_shared_by_runs_that_differ_in_what_follows(tmp_path):
    first, second, other = (
        runs(tmp_path, *changes)[1]
        for changes in ((), ("methods.pstmo.recipe.epochs=5",), ("methods.pstmo.stages.pretrain.recipe.epochs=1",))
    )
    assert first.key != second.key
    assert first.stages[0].key == second.stages[0].key
    assert other.stages[0].key != first.stages[0].key
    assert other.key != first.key, "what came before is part of a run"
    assert runs(tmp_path, "methods.pstmo.model.dim=32")[1].stages[0].key != first.stages[0].key
    run(tmp_path)
    run(tmp_path, "methods.pstmo.recipe.epochs=1")
    assert len(list(first.stages[0].folder.parent.glob("pstmo-pretrain-*"))) == 1


def test_every_stage_is_a_child_of_its_own_in_mlflow(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    record = run(tmp_path, track=True)["pstmo"]
    client = mlflow.MlflowClient(uri)
    found = {one.info.run_name: one for one in client.search_runs([client.search_experiments()[0].experiment_id])}
    children = {name: one for name, one in found.items() if "mlflow.parentRunId" in one.data.tags}
    stage = next(one for name, one in children.items() if name.startswith("pstmo-pretrain-s0-"))
    assert stage.data.tags["stage"] == "pretrain"
    assert stage.data.params["model.masked_joints"] == "3"
    assert stage.info.status == "FINISHED"
    history = client.get_metric_history(stage.info.run_id, "train/total")
    assert [point.step for point in history] == [1, 2, 3]
    last = next(one for one in children.values() if one.info.run_id == record.provenance.mlflow_run_id)
    assert last.data.tags["mlflow.parentRunId"] == stage.data.tags["mlflow.parentRunId"]
    assert "test/mpjpe_mm" in last.data.metrics


def test_a_stage_that_the_method_does_not_have_is_refused_before_the_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(split, "load_dataset", None)
    stated = benchmark(tmp_path, mixste={"stages": {"pretrain": {}}})
    with pytest.raises(BenchError, match="No stage of mixste 'pretrain'"):
        run_benchmark(stated)


def test_a_wrong_hyperparameter_of_a_stage_is_refused(tmp_path):
    with pytest.raises(BenchError, match=r"No hyper-parameter of pstmo, stage pretrain 'masked'. Did you mean"):
        planned(benchmark(tmp_path, "methods.pstmo.stages.pretrain.model.masked=3"))
    with pytest.raises(BenchError, match=r"pstmo, stage pretrain: masked_joints must be a whole number in 0..17"):
        planned(benchmark(tmp_path, "methods.pstmo.stages.pretrain.model.masked_joints=40"))


# As published


def test_as_published_sets_what_is_not_stated(tmp_path):
    entry = benchmark(tmp_path, mixste={"recipe": {"as_published": True, "epochs": 2}}).methods["mixste"]
    found = with_published_defects(entry, method_class("mixste"))
    assert found.model == {"square_loss_gradient": True}
    assert (found.recipe.window_layout, found.recipe.keep, found.recipe.epochs) == ("centred", "best-test", 2)
    stated = {"model": {"square_loss_gradient": False}, "recipe": {"as_published": True, "keep": "last"}}
    found = with_published_defects(benchmark(tmp_path, mixste=stated).methods["mixste"], method_class("mixste"))
    assert found.model == {"square_loss_gradient": False}
    assert found.recipe.keep == "last"
    sound = with_published_defects(benchmark(tmp_path, mixste={}).methods["mixste"], method_class("mixste"))
    assert sound.model == {}
    assert (sound.recipe.window_layout, sound.recipe.keep) == ("tail", "last")


@pytest.mark.parametrize("name", bench.methods())
def test_what_as_published_sets_can_be_set(tmp_path, name):
    cls = method_class(name)
    for owner in (cls, *cls.stages.values()):
        found = with_published_defects(benchmark(tmp_path, x={"recipe": {"as_published": True}}).methods["x"], owner)
        sizes = {} if name == "mean_pose" else {"dim": 16, "depth": 2, "heads": 2}
        owner(9, **(sizes | found.model))
        if owner is not cls:
            assert found.recipe.keep == "last", "no stage is judged"


def test_what_as_published_sets_is_in_the_record(tmp_path):
    entry = MIXSTE | {"model": {"dim": 16, "depth": 1, "heads": 2}, "recipe": {"epochs": 2, "as_published": True}}
    stated = benchmark(tmp_path, mixste=entry)
    (record,) = run_benchmark(stated, track=False)
    assert record.training["as_published"] == {
        "model": {"square_loss_gradient": True},
        "recipe": {"window_layout": "centred", "keep": "best-test"},
    }
    assert record.training["kept"] == "best-test"
    assert "test_mpjpe_mm" in record.training
    assert "validation_mpjpe_mm" not in record.training, "nothing was held out"
    assert tables.departures(record, stated) == [], "it is what the file says"
    (row,) = (row for row in tables.rows(stated, [record], records.published()) if row.records)
    assert any("scored best on the test set" in note for note in row.notes)
    sound = benchmark(tmp_path, mixste=MIXSTE | {"model": entry["model"], "recipe": {"epochs": 2}})
    assert "recipe.as_published True instead of False" in tables.departures(record, sound)


def test_another_protocol_keeps_a_record_out_of_the_table(tmp_path):
    stated = benchmark(tmp_path, mean_pose={})
    (record,) = run_benchmark(benchmark(tmp_path, "protocol.flip_test=false", mean_pose={}), track=False)
    stated = benchmark(tmp_path, mean_pose={})
    assert tables.departures(record, stated) == ["protocol.flip_test False instead of True"]


def test_as_published_reaches_stages_and_the_whole_data_set(tmp_path):
    found = runs(tmp_path, "methods.pstmo.recipe.as_published=true")[1]
    assert found.settings.model["copied_initialisation"]
    assert found.settings.recipe.keep == "best-test"
    assert found.stages[0].settings.model["mask_every_joint"] is False
    assert found.stages[0].settings.recipe.keep == "last"


def test_as_published_that_contradicts_the_recipe_is_refused(tmp_path):
    entry = MIXSTE | {"recipe": {"as_published": True, "window_stride": 3}}
    with pytest.raises(BenchError, match=r"mixste: recipe.as_published contradicts .*leave window_stride out"):
        planned(benchmark(tmp_path, mixste=entry))


# Published weights


def mixste_file(tmp_path: Path) -> Path:
    """A published-like checkpoint of the sizes of the toy benchmark."""
    with np.load(GOLDEN / "mixste.npz") as stored:
        state = {
            f"module.{key.removeprefix('state/')}": torch.from_numpy(stored[key])
            for key in stored.files
            if key.startswith("state/")
        }
    torch.save({"model_pos": state, "epoch": 3, "lr": 1e-5}, tmp_path / "best_epoch.bin")
    return tmp_path / "best_epoch.bin"


def imported_weights(tmp_path: Path) -> weights.Weights:
    return weights.import_file("mixste", mixste_file(tmp_path))


def imported(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    weights.save_weights(imported_weights(tmp_path), path)
    return path


MIXSTE: dict[str, Any] = {"model": {"dim": 32, "depth": 2, "heads": 8}, "recipe": {"epochs": 1}}


def test_imported_weights_are_tested_and_not_trained(tmp_path, capsys):
    stated = benchmark(tmp_path, mixste=MIXSTE)
    (record,) = run_benchmark(stated, weights={"mixste": imported(tmp_path)}, track=False)
    text = capsys.readouterr()
    assert "test best_epoch.bin" in text.err
    assert "epoch 1" not in text.err
    assert record.training == {"kept": "published weights", "windows": 0}
    assert record.recipe == {}
    assert record.weights is not None
    assert record.weights["file"] == "best_epoch.bin"
    method = bench.import_upstream("mixste", mixste_file(tmp_path))
    scores = evaluate(method, toy_dataset(), stated)
    assert record.metrics["mpjpe"].value == pytest.approx(scores.summary["mpjpe"], rel=1e-6)


def test_weights_imported_for_a_benchmark_are_found(tmp_path):
    stated = benchmark(tmp_path, mixste=MIXSTE)
    place = weights.benchmark_path(stated.name, "mixste")
    weights.save_weights(weights.import_file("mixste", mixste_file(tmp_path)), place)
    assert "test best_epoch.bin" in planned(stated)
    place.unlink()
    assert "test best_epoch.bin" not in planned(stated)


def test_imported_weights_can_be_left_alone(tmp_path):
    stated = benchmark(tmp_path, mixste=MIXSTE)
    weights.save_weights(imported_weights(tmp_path), weights.benchmark_path(stated.name, "mixste"))
    assert "test best_epoch.bin" not in planned(stated, imported=False)


def test_weights_go_to_the_entry_that_they_fit_best(tmp_path):
    deep = {"method": "mixste", "model": {"dim": 32, "depth": 2}}
    stated = benchmark(tmp_path, mixste={"model": {"dim": 32, "depth": 8}}, deep=deep)
    assert imported_weights(tmp_path).entry(stated) == "deep"


def test_published_weights_have_a_row_of_their_own(tmp_path):
    stated = benchmark(tmp_path, mixste=MIXSTE)
    found = run_benchmark(stated, track=False)
    found += run_benchmark(stated, weights={"mixste": imported(tmp_path)}, track=False)
    assert found[0].run_key != found[1].run_key
    assert not any(tables.departures(record, stated) for record in found)
    rows = tables.rows(stated, found, records.published())
    assert [row.label for row in rows if row.records] == ["MixSTE", "MixSTE, published weights"]


def test_published_weights_of_other_sizes_or_methods_are_refused(tmp_path):
    file = imported(tmp_path)
    with pytest.raises(BenchError, match="lifts 9 frames of 17 joints, staged wants 27 frames"):
        run_benchmark(benchmark(tmp_path, mixste=MIXSTE | {"frames": 27}), weights={"mixste": file}, track=False)
    with pytest.raises(BenchError, match="holds weights of mixste; diff3dhpe needs those of diff3dhpe"):
        run_benchmark(benchmark(tmp_path, diff3dhpe=MIXSTE), weights={"diff3dhpe": file}, track=False)
    with pytest.raises(BenchError, match=r"No method to run in staged 'mixst'\. Did you mean 'mixste'"):
        run_benchmark(benchmark(tmp_path, mixste=MIXSTE), weights={"mixst": file}, track=False)


def test_another_size_than_the_file_states_keeps_published_weights_out_of_the_table(tmp_path):
    stated = benchmark(tmp_path, mixste=MIXSTE | {"model": {"dim": 64, "depth": 2, "heads": 8}})
    (record,) = run_benchmark(stated, weights={"mixste": imported(tmp_path)}, track=False)
    assert tables.departures(record, stated) == ["model.dim 32 instead of 64"]


def pretraining_file(tmp_path: Path) -> Path:
    """The golden pre-training model, its joints made 17 as in the data."""
    with np.load(GOLDEN / "pstmo_pretrain.npz") as stored:
        state = {key.removeprefix("state/"): torch.from_numpy(stored[key]) for key in stored.files if "state/" in key}
    dim = state["fcn_dec.1.weight"].shape[1]
    state["encoder.fc_1.weight"] = torch.randn(len(state["encoder.fc_1.weight"]), 34, 1)
    state["fcn_dec.1.weight"], state["fcn_dec.1.bias"] = torch.randn(34, dim, 1), torch.randn(34)
    torch.save(state, tmp_path / "pretrain.pth")
    file = tmp_path / "pretrain.safetensors"
    weights.save_weights(weights.import_file("pstmo-pretrain", tmp_path / "pretrain.pth"), file)
    return file


PRETRAINED: dict[str, Any] = {
    "frames": 27,
    "model": {"dim": 32, "depth": 3, "heads": 8, "hidden": 48},
    "recipe": {"epochs": 1},
    "stages": {"pretrain": {}},
}


def test_published_weights_of_a_stage_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path):
    stated = benchmark(tmp_path, mean_pose={}, pstmo=PRETRAINED | {"model": {"dim": 64, "depth": 3, "hidden": 48}})
    with pytest.raises(BenchError, match=r"pretrain\.pth does not fit pstmo: dim is 32 in pstmo-pretrain, 64 in pstmo"):
        run_benchmark(stated, weights={"pstmo-pretrain": pretraining_file(tmp_path)}, track=False)
    assert records.load("staged") == []


def test_a_stage_can_start_from_published_weights(tmp_path):
    file = pretraining_file(tmp_path)
    stated = benchmark(tmp_path, pstmo=PRETRAINED)
    (record,) = run_benchmark(stated, weights={"pstmo-pretrain": file}, track=False)
    assert record.stages["pretrain"]["weights"]["file"] == "pretrain.pth"
    assert record.weights is None
    assert record.training["epochs"] == 1
    text = json.dumps(tables.departures(record, stated))
    assert "pretrain.pth" in text, "a table shows what its file states: pre-training, not somebody's weights"
