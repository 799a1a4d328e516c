"""What the report gathers is what records and runs say, and its page is whole and harmless."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from report_samples import BREAKOUT, MARKUP, dataset, leave_sweep, record

from bench.cli import main
from bench.data.windows import scored_windows
from bench.evaluation import Predictions, score
from bench.geometry.skeleton import H36M_17, MPI_INF_3DHP_17
from bench.method import Window
from bench.results import records
from bench.results.metrics import columns, further
from bench.results.tracking import mlflow_store
from bench.show.report import default_path, write_report
from bench.show.report.gather import FRONT, gather
from bench.show.report.render import render
from bench.show.report.runs import Lifted
from bench.system import paths
from bench.system.errors import BenchError


def gathered(project: Path) -> dict[str, Any]:
    (benchmark,) = gather([str(project / "toy.yaml")], beside=project / "results")["benchmarks"]
    return benchmark


def unpacked(text: str, *shape: int) -> Any:
    return np.frombuffer(base64.b64decode(text), "<i2").reshape(shape)


def embedded(text: str) -> dict[str, Any]:
    """The data of a page."""
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1])


# --- from records


def test_rows_are_those_of_the_tables_with_measured_and_published_apart(project):
    (board,) = gathered(project)["boards"]
    mixste, mean_pose, poseformer = board["rows"]
    assert (mixste["published"], mixste["notes"]) == ({"mpjpe": 21.6}, [f"Published: a note {MARKUP}"])
    assert mixste["measured"]["mpjpe"] == {"value": pytest.approx(30 * 16 / 17, abs=1e-3), "sd": None, "ci": (25, 35)}
    assert (mean_pose["published"], mean_pose["measured"]["p_mpjpe"]["value"]) == ({}, 60)
    assert (poseformer["records"], poseformer["measured"]) == ([], {})
    assert mixste["per_joint"]["left wrist"] == 30


def test_metrics_are_those_of_the_table_with_the_usual_ones_at_first(project):
    found = gather([str(project / "toy.yaml")], beside=project / "results")["metrics"]
    assert list(found) == [*columns(), *further()]
    assert {name for name, metric in found.items() if metric["at_first"]} == {"mpjpe", "p_mpjpe", "mpjve", "pck", "auc"}
    assert found["accel"] == {
        "title": "Acceleration error", "unit": "mm/frame²", "digits": 2, "higher_is_better": False, "at_first": False
    }  # fmt: skip
    assert found["pck150"]["higher_is_better"]


def test_a_link_leads_to_the_record(project):
    (board,) = gathered(project)["boards"]
    link = board["rows"][0]["records"][0]["href"]
    assert records.read(project / "results" / link).method == "mixste"


def test_seeds_make_a_mean_and_a_spread_and_no_interval_of_one_of_them(project):
    records.write(record("mixste", seed=1, metrics={"mpjpe": {"value": 30 * 16 / 17 + 2, "unit": "mm"}}))
    row = gathered(project)["boards"][0]["rows"][0]
    assert row["measured"]["mpjpe"]["value"] == pytest.approx(30 * 16 / 17 + 1, abs=1e-3)
    assert row["measured"]["mpjpe"]["sd"] == pytest.approx(2**0.5, abs=1e-3)
    assert row["measured"]["mpjpe"]["ci"] is None


def test_what_tables_leave_out_is_left_out(project):
    records.write(record("mixste", seed=1, recipe={"epochs": 99}))
    assert [one["seed"] for one in gathered(project)["boards"][0]["rows"][0]["records"]] == [0]


def test_sweeps_are_those_of_the_committed_outcomes(project):
    assert gathered(project)["sweeps"] == []
    leave_sweep()
    (sweep,) = gathered(project)["sweeps"]
    assert (sweep["name"], sweep["counts"], sweep["values"]) == ("hypotheses", True, [1, 5])
    mean, oracle = sweep["lines"]
    assert (mean["label"], mean["method"], mean["oracle"]) == ("mixste, mean of H", "mixste", False)
    assert (oracle["oracle"], oracle["mpjpe"], oracle["ci"]) == (True, [30, 20], [(29, 31), None])


def test_the_command_keeps_a_copy_in_mlflow(project, capsys, empty_store):
    (project / "results" / "mlflow").mkdir()
    shutil.copy(empty_store, project / "results" / "mlflow" / "mlflow.db")
    with pytest.raises(SystemExit, match="0"):
        main(["report", "--benchmarks", str(project / "toy.yaml"), "--track"])
    assert "experiment report" in capsys.readouterr().out
    client = mlflow_store._client(f"sqlite:///{project / 'results' / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("report")
    runs = client.search_runs([experiment.experiment_id], "attributes.run_name = 'report'")
    assert [artifact.path for artifact in client.list_artifacts(runs[0].info.run_id)] == ["report.html"]
    assert runs[0].info.status == "FINISHED"


def test_without_runs_there_is_nothing_of_single_frames(project):
    benchmark = gathered(project)
    assert (benchmark["courses"], benchmark["pck"], benchmark["viewer"], benchmark["problems"]) == ([], None, None, [])


@pytest.mark.parametrize("skeleton", [H36M_17, MPI_INF_3DHP_17], ids=lambda one: one.name)
def test_every_joint_has_a_place_with_the_right_side_on_the_viewers_left(skeleton):
    places = [FRONT[joint] for joint in skeleton.joints]
    assert len(set(places)) == len(places)
    for left, right in zip(skeleton.left, skeleton.right, strict=True):
        assert places[left] == (-places[right][0], places[right][1])
        assert places[left][0] > 0


# --- from runs


def test_curves_rise_where_the_errors_are(with_runs):
    pck = gathered(with_runs)["pck"]
    assert "pelvis" not in pck["joints"]
    for row, mm, low, high in (("mixste@9", 30, 29, 32), ("mean_pose@9", 120, 119, 122)):
        curve = pck["curves"][row]["pck"]
        assert (len(curve), curve[low], curve[high]) == (151, 0, 100)
        # Thresholds above the error, of 31: those at it depend on rounding.
        assert pck["curves"][row]["auc"] == pytest.approx(100 * (150 - mm) / 5 / 31, abs=100 / 31 + 0.01)


def test_courses_are_those_of_the_checkpoints(with_runs):
    assert gathered(with_runs)["courses"] == [
        {"row": "mixste@9", "seed": 0, "loss": [1.0, 0.5], "validation": [50.0, 49.0]}
    ]


def test_clips_hold_what_was_tested_and_predicted(with_runs):
    viewer = gathered(with_runs)["viewer"]
    testing = dataset()
    assert [clip["name"] for clip in viewer["clips"]] == ["easiest", "easy", "median", "hard", "hardest"]
    assert len({clip["sequence"] for clip in viewer["clips"]}) == 5
    assert viewer["fps"] == 25
    for clip in viewer["clips"]:
        video = testing.sequences.set_index("sequence").loc[clip["sequence"]]
        rows = int(video["start"]) + clip["first"] + clip["step"] * np.arange(clip["frames"])
        assert (clip["of"], clip["step"]) == (video["frames"], 2)
        assert rows[-1] < video["start"] + video["frames"]
        truth, predicted = (
            unpacked(text, clip["frames"], 17, 3) for text in (clip["truth"], clip["poses"]["mixste@9"])
        )
        np.testing.assert_allclose(truth, testing.poses_3d.numpy()[rows] * 1000, atol=0.51)
        assert np.abs(predicted[:, 1:] - truth[:, 1:] - [0, 0, 30]).max() <= 1
        assert not predicted[:, 0].any()
        keypoints = unpacked(clip["input"], clip["frames"], 17, 2) / viewer["screen"]
        np.testing.assert_allclose(keypoints, testing.keypoints_2d.numpy()[rows], atol=1e-4)
        np.testing.assert_allclose(clip["errors"]["mixste@9"], 30 * 16 / 17, atol=0.02)
    assert max(clip["frames"] for clip in viewer["clips"]) == 240  # of 700, every second, around the hardest


def test_predictions_that_do_not_fit_are_named_and_the_rest_is_shown(with_runs):
    file = paths.cache() / "runs" / "toy" / record("mixste").path.stem / "predictions.npz"
    file.write_bytes(b"not an archive")
    benchmark = gathered(with_runs)
    assert set(benchmark["pck"]["curves"]) == {"mean_pose@9"}
    assert any("mixste-s0" in problem for problem in benchmark["problems"])


def test_predictions_without_their_data_are_named(with_runs):
    (next((paths.cache() / "data").glob("h36m-*")) / "poses_3d.npy").unlink()
    benchmark = gathered(with_runs)
    assert (benchmark["pck"], benchmark["viewer"], len(benchmark["courses"])) == (None, None, 1)
    assert "predictions are there, but not the h36m data" in benchmark["problems"][0]


def test_of_mpi_inf_3dhp_the_area_is_the_official_auc_and_frames_that_are_not_valid_have_no_error(tmp_path):
    valid = torch.arange(len(dataset().poses_3d)) % 3 > 0
    testing = replace(dataset(), skeleton=MPI_INF_3DHP_17, valid=valid)
    poses_3d = testing.poses_3d - testing.poses_3d[:, [MPI_INF_3DHP_17.root]]
    testing = replace(testing, poses_3d=poses_3d)
    window = Window(9, "centre", stride=1)
    noise = np.random.default_rng(0).normal(0, 0.05, (int(valid.sum()), 1, 17, 3)).astype(np.float32)
    predictions = Predictions(window, scored_windows(testing, window), poses_3d[valid].numpy()[:, None] + noise)
    predictions.save(tmp_path / "predictions.npz")
    lifted = Lifted(testing, {"noisy": tmp_path / "predictions.npz"}, [])
    found, viewer = lifted.pck(), lifted.viewer(10**6)
    assert found["curves"]["noisy"]["auc"] == pytest.approx(score(predictions, testing).summary["auc_frames"], abs=0.01)
    assert len(found["joints"]) == 14
    for clip in viewer["clips"]:
        start = int(testing.sequences.set_index("sequence").loc[clip["sequence"], "start"])
        shown = valid[start + clip["first"] + clip["step"] * np.arange(clip["frames"])].tolist()
        assert [error is not None for error in clip["errors"]["noisy"]] == shown
        poses = unpacked(clip["poses"]["noisy"], clip["frames"], 17, 3)
        assert [bool((pose[1:14] != viewer["missing"]).all()) for pose in poses] == shown
    assert lifted.problems == []


# --- the page


def page(project: Path) -> str:
    write_report(None, [str(project / "toy.yaml")])
    return default_path().read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_elsewhere(with_runs):
    text = page(with_runs)
    head, _, rest = text.partition('<script id="data"')
    script = rest.rpartition("</script>\n<script>")[2].replace("http://www.w3.org/2000/svg", "")  # a name, no address
    asks = r"https?://|url\(|@import|<link|<iframe|\bfetch\(|XMLHttpRequest|WebSocket|\bimport\("
    assert not re.search(asks, head)
    assert not re.search(asks + r"|innerHTML|insertAdjacentHTML|document\.write|\beval\(", script)
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)=", text.replace(MARKUP, ""))
    assert "default-src 'none'" in text
    assert "{{" not in text.split('<script id="data"')[0]


def test_text_of_records_stays_text(with_runs):
    text = page(with_runs)
    assert MARKUP not in text
    assert BREAKOUT not in text
    assert "<b>markup</b>" not in text
    content = embedded(text)["benchmarks"][0]
    row = content["boards"][0]["rows"][0]
    assert BREAKOUT in row["per_action"]
    assert row["label"] == f"MixSTE {MARKUP}"


def test_a_number_that_is_none_makes_no_page():
    with pytest.raises(ValueError, match="not JSON compliant"):
        render({"value": float("nan")})


def test_the_command_writes_where_it_is_told(with_runs, capsys, monkeypatch):
    with pytest.raises(SystemExit, match="0"):
        main(["report", "-o", str(with_runs / "out" / "mine.html"), "--benchmarks", str(with_runs / "toy.yaml")])
    printed = capsys.readouterr().out
    assert "mine.html" in printed
    assert "2 records, 1 training curve, predictions of 2 methods, 5 clips" in printed
    content = embedded((with_runs / "out" / "mine.html").read_text(encoding="utf-8"))
    assert content["benchmarks"][0]["boards"][0]["rows"][0]["records"][0]["href"].startswith("../results/records/toy/")


def test_a_benchmark_that_is_not_known_is_the_users_mistake(project):
    with pytest.raises(BenchError, match=r"No benchmark 'dmo'\. Did you mean 'demo'"):
        write_report(None, ["dmo"])
    assert not default_path().exists()
