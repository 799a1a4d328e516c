"""What `make perf` compares answers the same, and its page says what its results say. Nothing here is timed."""

from __future__ import annotations

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
from bench.data.windows import gather, train_windows
from perf import reference, summary
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
    for ours, plain in zip((gathered.keypoints_2d, gathered.poses_3d, gathered.supervised), copied, strict=True):
        assert torch.equal(ours, plain)


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


def test_a_part_is_measured_and_printed():
    """As `make perf TOY=1` does, but for the least that has a reference: it answers the same, or this fails."""
    part = "(videopose3d-toy and step) or (mixste-toy and lift)"
    command = [sys.executable, "-m", "perf", "--toy", "--select", part]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # else not timed
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^\| (\w+), toy: 8 x 27 frames", done.stdout, re.M) == ["mixste", "videopose3d"]


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


def test_a_report_becomes_a_file_and_a_page(report, tmp_path):
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    page = tmp_path / "docs" / "reference" / "performance.md"
    page.write_text("# Performance\n\n<!-- table:results -->\n<!-- /table:results -->\n\nThe end.\n")
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


def test_every_group_has_a_place_on_the_page():
    groups = {
        group for file in (ROOT / "perf").glob("*.py") for group in re.findall(r'group="(\w+)"', file.read_text())
    }
    assert groups == set(summary.GROUPS)


def test_the_page_says_what_the_results_say():
    page = (ROOT / "docs" / "reference" / "performance.md").read_text(encoding="utf-8")
    assert summary.rendered(page, ROOT / "results" / "perf") == page
