"""What `make perf` compares answers the same, and its page says what its results say. Nothing here is timed."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import toy_dataset
from torch import nn

import bench
from baselines.layers import Attention
from bench import Batch, Method, Window, metrics
from bench.config.schema import Recipe
from bench.data.windows import gather, test_windows, train_windows
from bench.evaluation.predictions import predict
from bench.evaluation.scoring import score
from bench.system.errors import BenchError
from bench.system.provenance import provenance
from bench.training.loop import Job, fit
from perf import growth, reference, samples, summary
from perf.memory import held_for_backward
from perf.test_methods import learning, new

ROOT = Path(__file__).parent.parent


# --- the references


@pytest.mark.parametrize("name", learning())
def test_the_plain_form_of_a_method_gives_the_same(name):
    ours = new(name, frames=9, dim=16, depth=2, heads=2)
    plain = reference.plain(ours)
    assert not any(isinstance(module, Attention) for module in plain.modules())
    poses_3d = torch.randn(3, 9, 17, 3, generator=torch.Generator().manual_seed(1))
    batch = Batch(poses_3d[..., :2].clone(), poses_3d)
    answers = []
    for method in (ours, plain):
        total = method.loss(batch, torch.Generator().manual_seed(2))["total"]
        total.backward()
        answer = [total, *(parameter.grad for parameter in method.parameters())]
        if "." not in name:  # a stage does not lift
            answer.append(method.lift(batch.keypoints_2d, generator=torch.Generator().manual_seed(3)))
        answers.append(answer)
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-4)


def test_a_method_without_a_plain_form_is_refused():
    with pytest.raises(ValueError, match="mean_pose has no plain form"):
        reference.plain(bench.build("mean_pose", frames=9))


@settings(max_examples=40)
@given(
    frames=st.integers(1, 13).map(lambda half: 2 * half + 1),
    targets=st.sampled_from(["all", "centre", "last"]),
    step=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_windows_copied_one_by_one_are_those_that_are_gathered(frames, targets, step, seed):
    window = Window(frames, targets, step=1 if targets == "all" else step)
    dataset, rng = toy_dataset(), np.random.default_rng(seed)
    table = rng.permutation(train_windows(dataset.lengths, window))
    flipped = rng.uniform(size=len(table)) < 0.5
    gathered = gather(dataset, table, window, flipped)
    (copied,) = reference.batches(dataset, table, window, flipped, batch_windows=len(table))
    assert torch.equal(gathered.keypoints_2d, copied[0])
    for ours, plain in zip((gathered.poses_3d, gathered.supervised), copied[1:], strict=True):
        assert torch.equal(ours[:, window.answered], plain)


@pytest.mark.parametrize(("name", "sizes"), [("videopose3d", {"dropout": 0}), ("mixste", {"depth": 1, "drop_path": 0})])
def test_an_epoch_in_the_published_style_learns_the_same(name, sizes, tmp_path):
    dataset, recipe = samples.equal_videos(2, 31), Recipe(epochs=1, batch_windows=8, learning_rate=1e-3)
    ours = samples.built(name, 9, dim=16, heads=1, **sizes)
    plain = copy.deepcopy(ours)
    trained = fit(ours, Job(dataset, None, recipe, seed=3, folder=tmp_path, device=torch.device("cpu")))
    loss = reference.train_epoch(plain, dataset, recipe, seed=3)
    assert trained.history[0].loss["total"] == pytest.approx(loss, rel=1e-5)
    video = samples.one_video(9).keypoints_2d[None]  # weights without a gradient drift apart: what they lift does not
    torch.testing.assert_close(ours.eval().lift(video), plain.eval().lift(video), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("name", "every"), [("videopose3d", 1), ("videopose3d", 3), ("mixste", 1)])
def test_an_evaluation_in_the_published_style_gives_the_same_numbers(name, every, tmp_path):
    samples.save_test_set(tmp_path / "test_set.npz", scale=0.002 * every)
    dataset = samples.read_test_set(tmp_path / "test_set.npz")
    method = samples.built(name, 9, dim=8, depth=1, heads=1)
    part = reference.evaluate(method, tmp_path / "test_set.npz", every)
    predictions = predict(method, dataset)
    poses = predictions.per_frame(dataset)[reference.scored_rows(dataset, method.window, every)]
    poses[:, 0] = 0
    torch.testing.assert_close(part.result[0], torch.from_numpy(poses), atol=1e-5, rtol=1e-4)
    if every == 1:
        summary = score(predictions, dataset).summary
        assert part.result[1].tolist() == pytest.approx([summary[metric] for metric in reference.SCORED], rel=1e-5)


def test_the_test_set_has_the_shape_of_human36m(tmp_path):
    samples.save_test_set(tmp_path / "test_set.npz", scale=0.01)
    videos = samples.read_test_set(tmp_path / "test_set.npz").sequences
    assert videos.groupby("subject").size().to_dict() == {"S9": 60, "S11": 60}
    assert videos["action"].nunique() == 15
    assert videos["frames"].between(10, 36).all()


def test_windows_lifted_in_passes_are_those_of_predict():
    method, video = samples.built("videopose3d", 9, dim=8), samples.one_video(23)
    part = reference.lift_windows(method, video, windows_per_pass=4, every=2)
    chosen = [row for row in range(len(test_windows(video.lengths, method.window))) if row // 4 % 2 == 0]
    torch.testing.assert_close(part.result, torch.from_numpy(predict(method, video).poses_3d[chosen]))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_metrics_looped_over_frames_are_those_of_tensors(seed):
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 300, (12, 17, 3))
    predicted = target + rng.normal(0, 90, target.shape)
    for name in ("mpjpe", "p_mpjpe", "n_mpjpe", "mpjve"):
        ours = float(getattr(metrics, name)(predicted, target))
        assert getattr(reference, name)(predicted, target) == pytest.approx(ours, rel=1e-9), name
    errors = metrics.joint_errors(predicted, target)
    for name in ("pck", "auc"):
        assert getattr(reference, name)(errors.numpy()) == pytest.approx(float(getattr(metrics, name)(errors))), name


class Small(Method):
    name = "small"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 20)


def test_memory_held_for_the_backward_pass_is_counted_once_and_without_parameters():
    x = torch.ones(3, 10)  # a matrix product keeps its input, exp keeps its output; both products keep the same x
    size = held_for_backward(lambda method: (method.layer(x) + method.layer(x)).exp().sum(), Small())
    assert size == 4 * (3 * 10 + 3 * 20)


def test_counting_memory_keeps_none_of_it():
    seen = []

    def loss(method):
        output = method.layer(torch.ones(3, 10)).exp()
        seen.append(weakref.ref(output))
        return output.sum()

    held_for_backward(loss, Small())
    assert seen[0]() is None


def test_words_that_fit_no_case_are_named():
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "perf", "--select", "nothing_like_it"]
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert (done.returncode, "no case fits 'nothing_like_it'" in done.stderr) == (2, True)


def test_a_part_is_measured_and_printed():
    """As `make perf TOY=1` does, but for the least that has a reference: it answers the same, or this fails."""
    part = "(mixste-toy and lift) or (test_video and videopose3d)"
    command = [sys.executable, "-m", "perf", "--toy", "--select", part]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # else not timed
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^\| (\w+), toy: (\w+)", done.stdout, re.M) == [("videopose3d", "40"), ("mixste", "8")]
    assert re.search(r"^a video of 40 frames, videopose3d 243 .* >= 6 +(reached|missed)", done.stdout, re.M)
    assert max(map(len, done.stdout.partition("Work ")[2].splitlines())) <= 100


# --- results and page


@pytest.fixture
def report() -> dict:
    """As pytest-benchmark writes it, with what must not be published."""
    compared = {"case": "mixste, toy", "ratio": 2.04567, "reference_seconds": 0.0204567}
    held = {"ours_held_bytes": 2**20, "reference_held_bytes": 3 * 2**20}
    alone = {"case": "the interpreter alone"}
    return {
        "machine_info": {"node": "somebodys-machine"},
        "benchmarks": [
            {"group": "train", "stats": {"median": 0.01, "rounds": 20}, "extra_info": compared | held},
            {"group": "start", "stats": {"median": 0.05, "rounds": 3}, "extra_info": alone},
        ],
    }


def pages(root: Path) -> Path:
    """A page with both places for tables."""
    page = root / summary.PAGE
    page.parent.mkdir(parents=True)
    blocks = "\n".join(f"<!-- table:{name} -->\n<!-- /table:{name} -->" for name in ("reach", "results"))
    page.write_text(f"# Performance\n\n{blocks}\n\nThe end.\n")
    return page


def test_a_report_becomes_a_file_and_a_page(report, tmp_path):
    page = pages(tmp_path)
    file, _ = summary.write(summary.condense(report), "cuda:1", tmp_path)
    assert file == tmp_path / "results" / "perf" / "cuda.json"
    assert "somebody" not in file.read_text()
    assert json.loads(file.read_text())["cases"][0] == {
        "group": "train",
        "case": "mixste, toy",
        "ours_seconds": 0.01,
        "reference_seconds": 0.0205,
        "ratio": 2.05,
        "rounds": 20,
        "ours_held_bytes": 2**20,
        "reference_held_bytes": 3 * 2**20,
    }
    shown = [re.sub(r" +", " ", line) for line in page.read_text().splitlines()]
    assert "| mixste, toy | 10.0 ms | 20.5 ms | 2.05 | 1.00 MiB | 3.00 |" in shown
    assert "| the interpreter alone | 50.0 ms | — | — |" in shown
    assert shown[-1] == "The end."
    assert shown.index("### One step of training") < shown.index("### Cold start")
    assert summary.render(tmp_path, check=True) == []


def test_a_page_that_says_something_else_is_found(report, tmp_path):
    page = pages(tmp_path)
    summary.write(summary.condense(report), "cpu", tmp_path)
    page.write_text(page.read_text().replace("20.5 ms", "30.5 ms"))
    assert summary.render(tmp_path, check=True) == [page]
    assert summary.render(tmp_path) == [page]
    assert "20.5 ms" in page.read_text()


def test_a_part_takes_the_place_of_what_it_measured_again(report, tmp_path):
    pages(tmp_path)
    cases = summary.condense(report)
    waited = {"group": "wait", "case": "make demo", "ours_seconds": 70.0}
    summary.write(summary.merged([*cases, waited], "cpu", part=False, root=tmp_path), "cpu", tmp_path)
    part = summary.merged([{**cases[0], "ratio": 9.0}], "cpu", part=True, root=tmp_path)
    assert [case.get("ratio") for case in part] == [9.0, None, None]
    whole = summary.merged(cases[1:], "cpu", part=False, root=tmp_path)
    assert [case["case"] for case in whole] == ["make demo", "the interpreter alone"]


def test_a_part_does_not_join_what_another_machine_measured(report, tmp_path):
    pages(tmp_path)
    cases = summary.condense(report)
    file, _ = summary.write(cases, "cpu", tmp_path)
    results = json.loads(file.read_text())
    file.write_text(json.dumps(results | {"hardware": provenance()["hardware"] | {"cpu": "abacus"}}))
    with pytest.raises(BenchError, match="another machine"):
        summary.merged(cases, "cpu", part=True, root=tmp_path)
    assert len(summary.merged(cases[:1], "cpu", part=False, root=tmp_path)) == 1


def test_what_must_be_reached_has_a_verdict():
    cases = [
        {"group": "memory", "title": "a batch", "ours_seconds": 3.0, "ratio": 3.9, "reach": 4}
        | {"ours_step_bytes": 2**30, "reference_step_bytes": 39 * 2**30 // 10},
        {"group": "wait", "title": "make demo, beside JOBS=1", "ours_seconds": 70.0, "reference_seconds": 126.0}
        | {"ratio": 1.8, "reach": 1.7, "within": 60},
        {"group": "start", "ours_seconds": 1.0},
    ]
    rows = [re.split(r" {2,}", line.strip()) for line in summary.reached(cases).splitlines()[2:5]]
    assert rows == [
        ["make demo, beside JOBS=1", "70.0 s", "126 s", "1.80", ">= 1.7", "reached"],
        ["make demo", "70.0 s", "—", "—", "<= 60 s", "missed"],
        ["a batch", "1.00 GiB", "3.90 GiB", "3.90", ">= 4", "missed"],
    ]
    assert "- fresh clone to the demo's table: `make perf SELECT=demo`" in summary.reached(cases)


def test_growth_is_the_exponent_of_a_power(tmp_path):
    cases = [
        {"group": "growth", "axis": "frames", "series": "mixste", "at": size, "ours_seconds": 0.1 * size**1.5}
        for size in (81, 27, 243)
    ]
    found = growth.series(cases)
    assert [size for size, _ in found["frames", "mixste"]] == [27, 81, 243]
    assert growth.exponent(found["frames", "mixste"]) == pytest.approx(1.5)
    growth.draw(found, tmp_path / "growth.svg")
    assert "mixste  1.50" in (tmp_path / "growth.svg").read_text()
    assert "| mixste, 27 to 243 frames | 14.0 s | 379 s | 1.50 |" in re.sub(" +", " ", summary.growth_table(cases))


def test_every_group_has_a_place_on_the_page():
    groups = {
        group for file in (ROOT / "perf").glob("*.py") for group in re.findall(r'group="(\w+)"', file.read_text())
    }
    assert groups == set(summary.GROUPS)


def test_the_page_says_what_the_results_say():
    assert summary.render(check=True) == []


@pytest.mark.parametrize(
    ("seconds", "shown"), [(1280.0, "1,280 s"), (999.6, "1,000 s"), (99.7, "99.7 s"), (0.0023, "2.30 ms")]
)
def test_times_have_three_digits_and_no_exponent(seconds, shown):
    assert summary._time(seconds) == shown
