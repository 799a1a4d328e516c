"""Accountings: presets give the numbers that the published evaluation scripts print, and each rule does what it says."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from samples import mpi_inf_3dhp, save_3dhp, save_h36m, toy_dataset

from bench import Method, Window, load_dataset
from bench.accounting import PRESETS, SHARED, Accounting, accounting_of, for_method, presets
from bench.data.pose_dataset import PoseDataset
from bench.errors import BenchError
from bench.evaluation import Predictions, Scores, predict, score
from bench.skeleton import H36M_17, MPI_INF_3DHP_17

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
        u, v = (keypoints_2d - keypoints_2d[:, :, self.root, None]).unbind(-1)
        m_u, m_v = keypoints_2d.mean(dim=(1, 2))[:, None, None].unbind(-1) if self.kind == "windowed" else (0.0, 0.0)
        z = 0.4 * u**2 + (0.3 + 2 * m_v) * v + 0.05 + 0.2 * m_u
        return torch.stack([2.2 * u + 0.01, 2.2 * v - 0.02, z], dim=-1)[:, self.window.answered]


def unpacked(name: str) -> dict[str, np.ndarray]:
    """Arrays that are kept as the first frame and the steps to the next, in whole parts of a pixel or metre."""
    with np.load(GOLDEN / name) as stored:
        return {
            key.removesuffix("/first"): np.concatenate([stored[key], stored[key.replace("/first", "/steps")]]).cumsum(0)
            if key.endswith("/first")
            else stored[key]
            for key in stored.files
            if not key.endswith("/steps")
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
    for key, values in unpacked("sample_3dhp.npz").items():
        sequence, part = key.split("/")
        tested.setdefault(sequence, {})[part] = values / {"data_2d": 256, "data_3d": 64, "valid": 1}[part]
    save_3dhp(root, mpi_inf_3dhp()[0], tested)

    @cache
    def read(name: str, keypoints: str) -> PoseDataset:
        dataset = load_dataset(name, root, keypoints)
        return dataset.subset([one for one in dict.fromkeys(dataset.sequences["subject"]) if one in (*world, *tested)])

    return read


with gzip.open(GOLDEN / "accounting.json.gz", "rt") as stream:
    PUBLISHED = json.load(stream)


def titled(entry: dict) -> str:
    return "-".join(str(entry[key]) for key in ("upstream", "frames", "keypoints", "lifter", "option") if key in entry)


def as_published(entry: dict, dataset: PoseDataset) -> tuple[Predictions, Accounting]:
    """What the closed-form lifter predicts in the windows of an entry's method, and the accounting of its code."""
    whole = entry["upstream"].startswith(("mixste", "diff3dhpe"))
    option = entry.get("option", "")
    window = Window(entry["frames"], "all" if whole else "centre", step=2 if option == "temporal step 2" else 1)
    method = ClosedForm(window, dataset.skeleton.root, entry["lifter"])
    accounting = PRESETS[entry["upstream"]].accounting
    if option == "evaluation batch of 4 windows":
        accounting = replace(accounting, velocity_batch=4)
    return predict(method, dataset, flip=option != "no flip averaging"), accounting


def assert_printed(scores: Scores, row: str, printed: dict[str, float]) -> None:
    """The numbers of a row of the scores' table are those that were printed, all of them."""
    values = scores.table.set_index(["action", "metric"])["value"][row]
    for metric, name in PRINTED.items():
        if name in printed:
            assert values[metric] == pytest.approx(printed[name], abs=TOLERANCE), (row, metric)
    assert not set(printed) - {*PRINTED.values(), "n"}


@pytest.mark.parametrize("entry", PUBLISHED["h36m"], ids=titled)
def test_presets_give_what_the_published_scripts_print_on_human36m(sample, entry):
    dataset = sample("h36m", {"gt": "gt", "cpn_ft_h36m_dbb": "cpn"}[entry["keypoints"]])
    scores = score(*as_published(entry, dataset)[:1], dataset, accounting=as_published(entry, dataset)[1])
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
