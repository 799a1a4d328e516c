"""Sweeps, end to end on small files in Human3.6M's format: points, what is kept of them, and every refusal."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from samples import h36m_positions, save_h36m

from bench.cli import main
from bench.config import identity, load_benchmark
from bench.evaluation import hypotheses, predict
from bench.results import sweeps
from bench.results.records import load
from bench.runs import sweep
from bench.runs.plan import make_plan
from bench.show import tables
from bench.show.sweeps import page as page_of
from bench.system.errors import BenchError

SWEPT = """
title: Tiny people
protocol:
  dataset: h36m
  keypoints: gt
  frames: 9
  train_subjects: [S1]
  test_subjects: [S9]
methods:
  mean_pose: {}
  mixste:
    model: {dim: 8, depth: 1, heads: 2}
    recipe: {epochs: 1, batch_windows: 8}
  diff3dhpe:
    model: {dim: 8, depth: 1, heads: 2, sampling_steps: 2}
    recipe: {epochs: 1, batch_windows: 8}
sweeps:
  noise: {noise_half_widths: [0, 0.05]}
  drop: {joint_drop: [0, 0.5, 1], methods: [mean_pose, mixste]}
  steps: {sampling_steps: [1, 2]}
  many: {hypotheses: [1, 3]}
  more: {hypotheses: [1, 5, 10, 20]}
  window: {frames: [3, 9], methods: [mean_pose, mixste]}
  wrong: {hypotheses: [1, 3], methods: [mixste, diff3dhpe]}
  deep: {sampling_steps: [1, 5000]}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with `swept.yaml`, its data, and in `results/` the runs of the benchmark."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "swept.yaml").write_text(SWEPT)
    videos = {"S1": {"Sitting 1": 30, "Walking": 30}, "S9": {"Photo": 15, "Walking 1": 12, "Walking": 20}}
    save_h36m(folder / "data" / "h36m", *h36m_positions(videos))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_RESULTS", str(folder / "results"))
        patch.chdir(folder)
        with pytest.raises(SystemExit, match="0"):
            main(["run", "swept.yaml", "--data", "data", "--no-track"])
    return folder


@pytest.fixture
def swept(finished, monkeypatch, capsys):
    """swept("noise", ...) is what `bench sweep` prints, and its outcome; failing it, the refusal."""
    monkeypatch.setenv("BENCH_RESULTS", str(finished / "results"))
    monkeypatch.chdir(finished)

    def call(name: str, *options: str, status: int = 0):
        capsys.readouterr()
        with pytest.raises(SystemExit, match=str(status)):
            main(["sweep", "swept.yaml", name, "--data", "data", "--no-track", *options])
        printed = capsys.readouterr()
        if status:
            return printed.err
        return printed.out, sweeps.read(finished / "results" / "sweeps" / "swept" / f"{name}.json")

    return call


def mpjpe(outcome, method: str, combined: str | None = None) -> dict[float, float]:
    return {
        one.value: one.metrics["mpjpe"].value
        for one in outcome.points
        if (one.method, one.combined) == (method, combined)
    }


def recorded(folder: Path, method: str) -> float:
    """What the table of the benchmark shows."""
    (record,) = [
        one
        for one in load("swept", folder / "results" / "records")
        if one.method == method and one.receptive_field == 9
    ]
    return record.metrics["mpjpe"].value


# Points


@pytest.mark.slow
@pytest.mark.parametrize("name", ["noise", "many", "window"])
def test_points_side_by_side_are_the_same(swept, finished, name):
    def measured(*options: str):
        """The points, all measured anew, and the runs of other receptive fields trained anew."""
        cache = finished / "results" / "cache"
        shutil.rmtree(cache / "sweeps", ignore_errors=True)
        kept = {run.folder for run in make_plan(load_benchmark("swept.yaml"), data="data").runs}
        for run in {*(cache / "runs" / "swept").iterdir()} - kept:
            shutil.rmtree(run)
        return [(one.method, one.value, one.run_key, one.metrics) for one in swept(name, *options)[1].points]

    assert measured("--jobs", "2") == measured("--jobs", "1")


def test_noise_makes_all_but_the_mean_pose_worse(finished, swept):
    text, outcome = swept("noise")
    for method in ("mean_pose", "mixste", "diff3dhpe"):
        assert mpjpe(outcome, method)[0] == recorded(finished, method)
    assert mpjpe(outcome, "mean_pose")[0.05] == mpjpe(outcome, "mean_pose")[0]
    for method in ("mixste", "diff3dhpe"):
        assert mpjpe(outcome, method)[0.05] != mpjpe(outcome, method)[0]
    low, high = outcome.points[0].metrics["mpjpe"].ci
    assert low < outcome.points[0].metrics["mpjpe"].value < high
    assert re.search(r"^mixste +[\d.]+ \[[\d.]+, [\d.]+\]", text, re.M)
    assert "points      6, 6 to do, on cpu" in text
    assert f"all numbers {Path('results/sweeps/swept/noise.json')}\n" in text


def test_without_any_joint_all_poses_are_alike(swept):
    _, outcome = swept("drop")
    assert {one.method for one in outcome.points} == {"mean_pose", "mixste"}
    assert len(set(mpjpe(outcome, "mixste").values())) == 3


def test_steps_are_swept_for_methods_that_have_them(finished, swept):
    _, outcome = swept("steps")
    assert {one.method for one in outcome.points} == {"diff3dhpe"}
    found = mpjpe(outcome, "diff3dhpe")
    assert found[2] == recorded(finished, "diff3dhpe") != found[1]


def test_oracles_have_rows_of_their_own(finished, swept):
    text, outcome = swept("many")
    assert all(one.combined for one in outcome.points)
    ways = {way: mpjpe(outcome, "diff3dhpe", way) for way in sweeps.COMBINED}
    assert {found[1] for found in ways.values()} == {recorded(finished, "diff3dhpe")}
    assert ways["best_oracle"][3] < ways["best_oracle"][1]
    assert "diff3dhpe, best of H, oracle" in text
    assert "A row marked oracle uses the ground truth to choose: it is not a prediction." in text


def test_receptive_fields_are_ordinary_runs(finished, swept):
    text, outcome = swept("window")
    assert "methods" in text
    assert mpjpe(outcome, "mixste")[9] == recorded(finished, "mixste")
    assert mpjpe(outcome, "mixste").keys() == {3, 9}
    folders = [finished / "results" / name for name in ("records", "trials")]  # 3 frames are not what the file states
    runs = [one for folder in folders for one in load("swept", folder) if one.method == "mixste"]
    keys = {one.receptive_field: one.run_key for one in runs}
    assert {one.value: one.run_key for one in outcome.points if one.method == "mixste"} == keys


# What is kept


def test_a_stopped_sweep_continues_and_a_finished_one_is_left_unchanged(finished, swept, monkeypatch):
    lifted = []
    predict = sweep.predict
    monkeypatch.setattr(sweep, "predict", lambda *args, **options: lifted.append(1) or predict(*args, **options))
    swept("noise", "--methods", "mixste")
    path = finished / "results" / "sweeps" / "swept" / "noise.json"
    _, whole = swept("noise")
    assert {one.method for one in whole.points} == {"mean_pose", "mixste", "diff3dhpe"}
    before, picture = path.read_bytes(), path.with_suffix(".svg").read_bytes()
    lifted.clear()
    text, _ = swept("noise")
    assert (lifted, path.read_bytes()) == ([], before)
    assert path.with_suffix(".svg").read_bytes() == picture
    assert "points      6, 0 to do" in text
    (kept,) = (finished / "results" / "cache" / "sweeps" / "swept").glob("mixste-*-noise_half_widths-0.05-*.json")
    kept.unlink()
    _, again = swept("noise", "--methods", "mixste")
    assert len(lifted) == 1
    assert [mpjpe(again, one) for one in ("mean_pose", "mixste", "diff3dhpe")] == [
        mpjpe(whole, one) for one in ("mean_pose", "mixste", "diff3dhpe")
    ]


def test_hypotheses_are_lifted_once_and_again_only_by_a_sweep_that_continues(finished, swept, monkeypatch):
    lifted: list[int] = []
    monkeypatch.setattr(
        hypotheses,
        "predict",
        lambda *args, **options: lifted.append(options["hypothesis"]) or predict(*args, **options),
    )
    _, outcome = swept("more")
    assert lifted == list(range(20)), "36 when each number of hypotheses lifts its own"
    text, _ = swept("more")
    assert len(lifted) == 20
    assert "points      4, 0 to do" in text
    for value in (10, 20):  # stopped while it lifted towards 10
        (kept,) = (finished / "results" / "cache" / "sweeps" / "swept").glob(f"diff3dhpe-*-hypotheses-{value}-*.json")
        kept.unlink()
    lifted.clear()
    _, again = swept("more")
    assert lifted == list(range(20))
    for way in sweeps.COMBINED:
        assert mpjpe(again, "diff3dhpe", way) == mpjpe(outcome, "diff3dhpe", way)
    (kept,) = (finished / "results" / "cache" / "sweeps" / "swept").glob("diff3dhpe-*-hypotheses-5-*.json")
    kept.unlink()
    lifted.clear()
    _, alone = swept("more")
    assert lifted == list(range(5))
    assert mpjpe(alone, "diff3dhpe", "best_oracle") == mpjpe(outcome, "diff3dhpe", "best_oracle")


def test_points_of_other_runs_are_dropped_from_an_outcome(finished, swept):
    _, outcome = swept("noise")
    path = finished / "results" / "sweeps" / "swept" / "noise.json"
    content = json.loads(path.read_text())
    for point in content["points"]:
        if point["method"] == "diff3dhpe":
            point["run_key"] = 64 * "0"
    path.write_text(json.dumps(content))
    _, mended = swept("noise", "--methods", "mixste")
    assert {one.method for one in mended.points} == {"mean_pose", "mixste"}
    _, whole = swept("noise")
    assert whole.points == outcome.points


def test_the_page_is_made_of_the_outcomes_alone(swept, finished, tmp_path):
    _, outcome = swept("many")
    for path in (finished / "results" / "sweeps").rglob("many.json"):
        target = tmp_path / "results" / "sweeps" / "swept" / path.name
        target.parent.mkdir(parents=True)
        target.write_bytes(path.read_bytes())
    (tmp_path / "configs").mkdir()
    assert tables.write(root=tmp_path, results=tmp_path / "results") == ["results/tables/swept-sweeps.md"]
    assert tables.write(root=tmp_path, results=tmp_path / "results") == []
    page = (tmp_path / "results" / "tables" / "swept-sweeps.md").read_text()
    assert page == page_of([outcome])
    assert "| diff3dhpe, mean of H " in page
    assert "](../sweeps/swept/many.svg)" in page


# Refusals


def test_no_sweep_is_part_of_a_run(finished, monkeypatch):
    monkeypatch.chdir(finished)
    benchmark = load_benchmark("swept.yaml")
    bare = benchmark.model_copy(update={"sweeps": {}})
    for part in ("protocol", "methods"):
        assert identity(benchmark.model_dump(mode="json")[part]) == identity(bare.model_dump(mode="json")[part])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nois", (), "No sweep of swept 'nois'. Did you mean 'noise'?"),
        ("wrong", (), "sweep wrong: mixste draws no hypotheses"),
        ("steps", ("--methods", "mixste"), "mixste takes no steps of a sampler"),
        ("drop", ("--methods", "diff3dhpe"), "No method of the sweep drop 'diff3dhpe'"),
        ("deep", (), "diff3dhpe: sampling steps must be in 1..1000, not 5000"),
        ("noise", ("--seeds", "2"), "no weights to test again; this makes them: bench run swept --methods"),
    ],
)
def test_what_cannot_be_swept_is_refused(swept, name, options, message):
    assert message in swept(name, *options, status=2)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("{nois_half_widths: [0]}", "sweeps.x.nois_half_widths is not known; did you mean noise_half_widths?"),
        ("{methods: [mixste]}", "sweeps.x: state exactly one of noise_half_widths, joint_drop, sampling_steps"),
        ("{joint_drop: [0], frames: [9]}", "found joint_drop, frames"),
        ("{joint_drop: [0, 1.5]}", "sweeps.x.joint_drop.1: Input should be less than or equal to 1, found 1.5"),
        ("{joint_drop: []}", "joint_drop must hold ascending values without repetition, found []"),
        ("{frames: [9, 3]}", "frames must hold ascending values without repetition, found [9, 3]"),
        ("{hypotheses: [0]}", "sweeps.x.hypotheses.0: Input should be greater than or equal to 1, found 0"),
        ("{noise_half_widths: [-1]}", "sweeps.x.noise_half_widths.0"),
        ("{frames: [9], methods: [mixst]}", "sweeps.x.methods: 'mixst' is not a method of this benchmark"),
    ],
)
def test_a_sweep_that_is_not_understood_is_refused_on_reading(tmp_path, stated, message):
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEPT.partition("sweeps:")[0] + f"sweeps:\n  x: {stated}\n")
    with pytest.raises(BenchError, match=re.escape(message)):
        load_benchmark(path)


def test_without_a_name_the_sweeps_are_listed(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    with pytest.raises(SystemExit, match="0"):
        main(["sweep", "swept.yaml"])
    assert "  steps: sampling_steps 1, 2; methods: all that have it\n" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["{", '{"schema": 1}'])
def test_an_outcome_that_is_damaged_is_refused(tmp_path, damage):
    path = tmp_path / "swept" / "noise.json"
    path.parent.mkdir()
    path.write_text(damage)
    with pytest.raises(BenchError, match="written by `bench sweep`, never by hand"):
        sweeps.read(path)
