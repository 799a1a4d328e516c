"""Accountings: presets give what the published evaluation scripts print, and each rule does what it says."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from samples import mpi_inf_3dhp, save_3dhp, save_h36m

from bench import Method, Window, load_dataset
from bench.accounting import PRESETS, Accounting
from bench.data.pose_dataset import PoseDataset
from bench.evaluation import Predictions, Scores, predict, score

TOLERANCE = 2e-3  # mm; the published code computes in float32

PRINTED = {"mpjpe": "MPJPE", "p_mpjpe": "P-MPJPE", "n_mpjpe": "N-MPJPE", "mpjve": "MPJVE", "pck": "PCK", "auc": "AUC"}


# The published evaluation scripts


class ClosedForm(Method):
    """The lifter that the golden numbers were made with: coordinates relative to the root, and a depth made of them."""

    name = "closed-form"

    def __init__(self, window: Window, root: int, kind: str) -> None:
        super().__init__()
        self.window, self.root, self.kind = window, root, kind

    def lift(self, keypoints_2d, *, generator=None):
        mean = keypoints_2d.mean(dim=(1, 2))[:, None, None] if self.kind == "windowed" else torch.zeros(2)
        answered = keypoints_2d[:, self.window.answered]
        u, v = (answered - answered[:, :, self.root, None]).unbind(-1)
        z = 0.4 * u**2 + (0.3 + 2 * mean[..., 1]) * v + 0.05 + 0.2 * mean[..., 0]
        return torch.stack([2.2 * u + 0.01, 2.2 * v - 0.02, z], dim=-1)


def unpacked(name: str) -> dict[str, np.ndarray]:
    """Arrays that are kept as the first frame and the steps to the next, in whole parts of a pixel or metre."""
    with np.load(GOLDEN / name) as stored:
        return {
            key.removesuffix("/first"): np.concatenate([stored[key], stored[key.replace("/first", "/steps")]]).cumsum(0)
            for key in stored.files
            if key.endswith("/first")
        }


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """sample("h36m", "gt"): the test subjects of the made-up data that the published scripts were run on."""
    root = tmp_path_factory.mktemp("sample")
    world: dict[str, dict] = {}
    for key, poses in unpacked("sample_h36m_3d.npz").items():
        subject, sequence = key.split("/")
        world.setdefault(subject, {})[sequence] = (poses / 2**16).astype(np.float32)
    for keypoints, file in (("gt", "sample_h36m_gt.npz"), ("cpn_ft_h36m_dbb", "sample_h36m_cpn.npz")):
        views: dict[str, dict] = {subject: {sequence: [] for sequence in world[subject]} for subject in world}
        for key, pixels in sorted(unpacked(file).items()):
            subject, sequence, _ = key.split("/")
            views[subject][sequence].append((pixels / 256).astype(np.float32))
        save_h36m(root, world, views, keypoints)
    tested: dict[str, dict] = {}
    for key, values in np.load(GOLDEN / "sample_3dhp.npz").items():
        sequence, part = key.split("/")
        tested.setdefault(sequence, {})[part] = values
    save_3dhp(root, mpi_inf_3dhp()[0], tested)

    @cache
    def read(name: str, keypoints: str) -> PoseDataset:
        dataset = load_dataset(name, root, keypoints)
        return dataset.subset([one for one in dict.fromkeys(dataset.sequences["subject"]) if one in (*world, *tested)])

    return read


@pytest.fixture(scope="module")
def lifted(sample):
    """lifted("h36m", "gt", window, kind, flip): what the closed-form lifter predicts."""

    @cache
    def lift(name: str, keypoints: str, window: Window, kind: str, flip: bool) -> Predictions:
        dataset = sample(name, keypoints)
        return predict(ClosedForm(window, dataset.skeleton.root, kind), dataset, flip=flip)

    return lift


with gzip.open(GOLDEN / "accounting.json.gz", "rt") as stream:
    PUBLISHED = json.load(stream)


def titled(entry: dict) -> str:
    return "-".join(str(entry[key]) for key in ("upstream", "frames", "keypoints", "lifter", "option") if key in entry)


def as_published(entry: dict) -> tuple[Window, bool, Accounting]:
    """The windows of an entry's method, whether it mirrors, and the accounting of its code."""
    whole = entry["upstream"].startswith(("mixste", "diff3dhpe"))
    option = entry.get("option", "")
    window = Window(entry["frames"], "all" if whole else "centre", step=2 if option == "temporal step 2" else 1)
    accounting = PRESETS[entry["upstream"]].accounting
    if option == "evaluation batch of 4 windows":
        accounting = replace(accounting, velocity_batch=4)
    return window, option != "no flip averaging", accounting


def assert_printed(scores: Scores, row: str, printed: dict[str, float]) -> None:
    """The numbers of a row of the scores' table are those that were printed, all of them."""
    values = scores.table.set_index(["action", "metric"])["value"][row]
    for metric, name in PRINTED.items():
        if name in printed:
            assert values[metric] == pytest.approx(printed[name], abs=TOLERANCE), (row, metric)
    assert not set(printed) - {*PRINTED.values(), "n"}


@pytest.mark.parametrize("entry", PUBLISHED["h36m"], ids=titled)
def test_presets_give_what_the_published_scripts_print_on_human36m(sample, lifted, entry):
    source = "h36m", {"gt": "gt", "cpn_ft_h36m_dbb": "cpn"}[entry["keypoints"]]
    window, flip, accounting = as_published(entry)
    scores = score(lifted(*source, window, entry["lifter"], flip), sample(*source), accounting=accounting)
    for action, printed in entry["per_action"].items():
        assert_printed(scores, action, printed)
    assert_printed(scores, "average", entry["mean"])
    assert scores.summary["mpjpe"] == pytest.approx(entry["mean"]["MPJPE"], abs=TOLERANCE)
    frames = scores.per_frame.groupby("action").size()
    if "n_counted" in entry:
        assert len(scores.errors) == frames.sum() == entry["n_counted"]
    else:
        assert frames.to_dict() == {action: printed["n"] for action, printed in entry["per_action"].items()}
    assert ("mpjve" in scores.summary) == ("MPJVE" in entry["mean"])


@pytest.mark.parametrize("entry", PUBLISHED["3dhp"], ids=titled)
def test_presets_give_what_the_published_scripts_print_on_mpi_inf_3dhp(sample, lifted, entry):
    dataset = sample("3dhp", "gt")
    window, flip, accounting = as_published(entry)
    predictions = lifted("3dhp", "gt", window, entry["lifter"], flip)
    own = score(predictions, dataset, accounting=accounting)
    for sequence, printed in entry.get("per_sequence", {}).items():
        assert_printed(own, sequence, printed)
    if "mean" in entry:
        assert_printed(own, "average", entry["mean"])
        assert len(own.errors) == entry["n_counted"]
    else:
        assert own.summary["mpjpe_frames"] == pytest.approx(entry["p1_mm"], abs=TOLERANCE)
        assert own.summary["mpjpe"] == pytest.approx(entry["official"]["weights_2929"]["MPJPE"], abs=TOLERANCE)
        assert own.per_frame.groupby("action").size().to_dict() == entry["n_valid"]
        assert "mpjve" not in own.summary
    official = entry["official"]
    for sequence, printed in official["per_sequence"].items():
        assert_printed(own, sequence, printed)
    assert_printed(own, "all frames", official["all_frames"])
    for weights, printed in (("alike", "mean_of_sequences"), ("readme", "weights_2929")):
        assert_printed(
            score(predictions, dataset, accounting=replace(accounting, sequence_weights=weights)),
            "average",
            official[printed],
        )
