"""`bench score`, end to end: the numbers of `bench run`, a record, a row below the benchmark's own, and no traces."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from samples import h36m_positions, mpi_inf_3dhp, save_3dhp, save_h36m

from bench import load_benchmark, load_dataset
from bench.cli import main
from bench.evaluation import Predictions, predictions_file
from bench.results import records
from bench.results import statistics as stats
from bench.results.records import Record
from bench.results.tracking import mlflow_store
from bench.runs.launch import run_benchmark
from bench.show import tables
from bench.system import paths

TINY = """
title: Tiny people
protocol:
  dataset: {dataset}
  keypoints: gt
  frames: 9
  train_subjects: [S1]
  test_subjects: [{test}]
  averaging: {averaging}
methods:
  mean_pose: {{}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two benchmarks and the data of both."""
    folder = tmp_path_factory.mktemp("scoring")
    save_h36m(folder / "data" / "h36m", *h36m_positions())
    save_3dhp(folder / "data" / "3dhp", *mpi_inf_3dhp())
    (folder / "tiny.yaml").write_text(TINY.format(dataset="h36m", test="S9, S11", averaging="actions"))
    (folder / "tiny-3dhp.yaml").write_text(TINY.format(dataset="3dhp", test="TS1, TS2, TS5", averaging="frames"))
    return folder


@pytest.fixture(autouse=True)
def in_it(folder, monkeypatch):
    monkeypatch.chdir(folder)


def ours(name: str = "tiny") -> tuple[Record, dict[str, np.ndarray]]:
    """The record of the mean pose in `bench run`, and its predictions as anybody would hand them in."""
    benchmark = load_benchmark(f"{name}.yaml")
    (record,) = run_benchmark(benchmark, data="data", track=False)
    (file,) = paths.cache().glob(f"runs/{name}/mean_pose-*/predictions.npz")
    testing = load_dataset(benchmark.protocol.dataset, "data").subset(benchmark.protocol.test_subjects)
    return record, predictions_file.by_video(testing, Predictions.load(file).per_frame(testing))


def bench(*arguments: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> tuple[str, str]:
    """What a command prints on both streams."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    shown = capsys.readouterr()
    assert caught.value.code == status, shown
    return tuple(shown)


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


SCORE = ("score", "tiny.yaml", "--data", "data", "--predictions", "mine.npz", "--name", "mine")


@pytest.mark.parametrize("name", ["tiny", "tiny-3dhp"])
def test_predictions_score_as_the_run_that_made_them(name, capsys):
    native, poses = ours(name)
    np.savez("mine.npz", **{key: poses[key] for key in reversed(poses)})  # of 3dhp NaN where nothing is scored
    bench("score", f"{name}.yaml", *SCORE[2:], "--no-track", capsys=capsys)
    (record,) = [one for one in records.load(name) if one.method == "mine"]
    for key, metric in native.metrics.items():
        assert record.metrics[key].value == pytest.approx(metric.value, rel=1e-6), key
        assert record.metrics[key].unit == metric.unit
    assert record.per_action == {key: pytest.approx(values, rel=1e-6) for key, values in native.per_action.items()}
    assert record.per_joint == {key: pytest.approx(values, rel=1e-6) for key, values in native.per_joint.items()}
    assert {one.sequence for one in record.blocks} == {one.sequence for one in native.blocks} != set()
    for metric in record.blocks[0].means:
        blocks, headline = stats.recorded(record, metric), record.metrics[metric]
        assert (blocks["mean"] * blocks["weight"]).sum() == pytest.approx(headline.value, rel=1e-5), metric
        assert headline.ci[0] <= headline.value <= headline.ci[1]
        assert headline.ci[0] < headline.ci[1] or metric == "pck150", metric  # every joint here is farther off
    assert sum(one.frames for one in record.blocks) == record.frames
    same = ("benchmark", "seed", "accounting", "data", "protocol", "frames", "sequences")
    assert [getattr(record, part) for part in same] == [getattr(native, part) for part in same]
    assert (record.registered, record.receptive_field, record.parameters, record.macs_per_frame) == (None,) * 4
    digest = record.training["sha256"]
    assert record.training == {"scored_from": "predictions", "file": "mine.npz", "sha256": digest}
    assert re.fullmatch(r"[0-9a-f]{64}", digest)


def test_what_is_printed_and_written_the_first_time_and_the_second(results_folder, capsys):
    _, poses = ours()
    np.savez("mine.npz", **{key: video + np.float32([0.3, 0, 0]) for key, video in poses.items()})
    first, _ = bench(*SCORE, capsys=capsys)
    assert "  scored      predictions in mine.npz, SHA-256 " in first
    assert "  test        S9, S11: 12 videos, 104 frames, each counted once, root zeroed" in first
    assert re.search(r"  root        not at zero as predicted: MPJPE would be [\d.]+ mm with it, [\d.]+ without", first)
    assert all(re.search(rf"^{row} +\d", first, re.M) for row in ("Phoning", "Sitting", "all", "left wrist"))
    assert re.search(r"^mean_pose +0 .*1\.00x$", first[first.index("\nTiny people\n") :], re.M)
    assert re.search(r"^mine, scored from predictions +0 ", first, re.M)
    (path,) = (results_folder / "records" / "tiny").glob("mine-s0-*.json")
    assert f"record      {path}" in first
    assert str(Path.cwd()) not in path.read_text()

    client = mlflow_store._client(f"sqlite:///{results_folder / 'mlflow' / 'mlflow.db'}")
    run = client.get_run(json.loads(path.read_text())["provenance"]["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/mpjpe_mm"] == pytest.approx(records.read(path).metrics["mpjpe"].value, rel=1e-5)
    assert run.data.params["scored_from"] == "predictions"
    kept = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    tables = {"per_action.csv", "per_group.csv", "errors_per_video.csv", "errors_mm.npz"}
    assert kept == {"record.json", "config.json", "figures"} | tables

    before = files(results_folder)
    second, _ = bench(*SCORE, capsys=capsys)
    assert second == first
    assert files(results_folder) == before


def test_without_a_record_nothing_is_left(results_folder, capsys):
    _, poses = ours()
    np.savez("mine.npz", **poses)
    before = {path.relative_to(results_folder).parts[0] for path in files(results_folder)}
    kept = list((results_folder / "records").rglob("*.json"))
    text, _ = bench(*SCORE, "--no-record", capsys=capsys)
    assert "record      none: --no-record" in text
    assert "mine, scored from predictions" in text
    assert list((results_folder / "records").rglob("*.json")) == kept
    assert {path.relative_to(results_folder).parts[0] for path in files(results_folder)} == before


def test_another_file_under_the_same_name_takes_the_row(capsys):
    _, poses = ours()
    for factor in (1.0, 2.0):
        np.savez("mine.npz", **{key: video * np.float32(factor) for key, video in poses.items()})
        text, _ = bench(*SCORE, "--no-track", capsys=capsys)
    assert text.count("mine, scored from predictions") == 1
    assert len([one for one in records.load("tiny") if one.method == "mine"]) == 2


def test_rows_stand_below_the_benchmarks_own_whatever_their_name_and_window(capsys):
    native, poses = ours()
    np.savez("mine.npz", **poses)
    bench(*SCORE[:-1], "a_first", "--no-track", capsys=capsys)
    benchmark = load_benchmark("tiny.yaml")
    (scored,) = [one for one in records.load("tiny") if one.method == "a_first"]
    taken = scored.model_copy(update={"method": "mean_pose", "receptive_field": 81})  # the file got that name later
    assert tables.departures(taken, benchmark) == []
    rows = tables.rows(benchmark, [taken, scored, native], records.published())
    assert [(one.label, one.frames, len(one.records)) for one in rows] == [
        ("mean_pose", 9, 1),
        ("mean_pose, scored from predictions", 81, 1),
        ("a_first, scored from predictions", None, 1),
    ]


# Models


def onnx_file(path: str, frames: int = 9) -> None:
    """Poses that are keypoints @ [[1, 0, 1], [0, 1, 0]]."""
    weights = onnx.numpy_helper.from_array(np.array([[1, 0, 1], [0, 1, 0]], np.float32), "weights")
    given = helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["batch", frames, 17, 2])
    found = helper.make_tensor_value_info("poses", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["keypoints", "weights"], ["poses"])], "lifter", [given], [found], [weights]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_an_onnx_model_is_scored_and_its_window_is_part_of_its_key(capsys):
    onnx_file("lifter.onnx")
    command = ("score", "tiny.yaml", "--data", "data", "--onnx", "lifter.onnx", "--name", "lifter", "--no-track")
    text, _ = bench(*command, capsys=capsys)
    assert "  window      9 frames, it answers for all of them, averaged with the mirrored input" in text
    assert "lifter, scored from an ONNX model" in text
    (record,) = records.load("tiny")
    assert (record.receptive_field, record.training["targets"], record.training["step"]) == (9, "all", 1)
    Path("lifter.onnx.data").write_bytes(b"other weights")
    try:
        bench(*command, capsys=capsys)
    finally:
        Path("lifter.onnx.data").unlink()
    assert [one.training.get("data_sha256", "")[:4] for one in records.load("tiny")].count("") == 1
    assert len({one.run_key for one in records.load("tiny")}) == 2


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions", "nowhere.npz", "--name", "mine"], "nowhere.npz not found"),
        (["--onnx", "nowhere.onnx", "--name", "mine"], "nowhere.onnx not found"),
        (["--predictions", "far.npz", "--name", "mean_pose"], "is a method of tiny, which is trained"),
        (["--predictions", "far.npz", "--name", "../mine"], "--name '../mine' is not valid"),
        (["--predictions", "far.npz", "--name", ""], "--name '' is not valid"),
        (["--predictions", "far.npz", "--name", "mine", "--frames", "9"], "--frames: for models"),
        (["--onnx", "far.npz", "--name", "mine", "--device", "cuda"], "ONNX models run on the CPU"),
        (["--onnx", "far.npz", "--name", "mine"], "far.npz cannot be read as an ONNX model"),
        (["--torchscript", "far.npz", "--name", "mine"], "far.npz cannot be read as a TorchScript model"),
        (["--predictions", "far.npz", "--name", "mine"], "poses must be root-relative"),
        (["--onnx", "even.onnx", "--name", "mine", "--frames", "9"], "even.onnx reads 8 frames at once, not 9"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.filterwarnings("ignore")
def test_mistakes_leave_nothing(results_folder, capsys, arguments, message):
    testing = load_dataset("h36m", "data").subset(["S9", "S11"])
    absolute = testing.poses_3d.numpy() + testing.roots.numpy()[:, None]
    predictions_file.write(Path("far.npz"), predictions_file.by_video(testing, absolute))
    onnx_file("even.onnx", frames=8)
    out, err = bench("score", "tiny.yaml", "--data", "data", *arguments, status=2, capsys=capsys)
    assert out == ""
    assert re.search(message, err), err
    assert err.startswith("bench: ")
    assert {path.name for path in results_folder.iterdir()} <= {"cache"}
    assert {path.name for path in (results_folder / "cache").iterdir()} <= {"data", "digests"}


def test_exactly_one_thing_is_scored(capsys):
    for arguments in ([], ["--onnx", "a.onnx", "--predictions", "b.npz"]):
        _, err = bench("score", "tiny.yaml", "--name", "mine", *arguments, status=2, capsys=capsys)
        assert "--predictions" in err
