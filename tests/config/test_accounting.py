"""Accountings: presets give what the published evaluation scripts print, and each rule does what it says."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import mpi_inf_3dhp, save_3dhp, save_h36m, toy_dataset

from bench import Method, Window, load_dataset, metrics
from bench.config.accounting import PRESETS, SHARED, Accounting, accounting_of, for_method, presets
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import block_rows, counted_frames, gather, scored_windows, test_windows
from bench.evaluation import Predictions, Scores, predict, score
from bench.system.errors import BenchError

GOLDEN = Path(__file__).parents[1] / "golden"
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


# Each rule, by hand


def skewed(frames: list[int], actions: list[str] | None = None) -> PoseDataset:
    """Videos whose frame t, counted over all of them, has its target's joints at (t, 0, 0) mm, the root at zero."""
    names = actions or [f"action {number}" for number in range(len(frames))]
    dataset = toy_dataset([("S1", name, name, "a", length) for name, length in zip(names, frames, strict=True)])
    target = torch.zeros_like(dataset.poses_3d)
    target[:, 1:, 0] = torch.arange(sum(frames), dtype=torch.float32)[:, None] / 1000
    return replace(dataset, poses_3d=target)


def off_by(dataset: PoseDataset, window: Window, errors: list[list[float]]) -> Predictions:
    """Every window's frames off by these many mm along y, in all joints, the root too."""
    table = scored_windows(dataset, window)
    poses = dataset.poses_3d.numpy()[block_rows(dataset, table, window)]
    poses[..., 1] += np.array(errors, np.float32)[..., None] / 1000
    return Predictions(window, table, poses)


def summary(predictions: Predictions, dataset: PoseDataset, **rules) -> dict[str, float]:
    return score(predictions, dataset, accounting=Accounting(**rules)).summary


def test_tails_and_padding_count_as_told():
    dataset = skewed([5, 2])
    predictions = off_by(dataset, Window(3), [[1, 2, 3], [10, 4, 5], [6, 7, 100]])  # the second window shares frame 2
    root = 16 / 17
    for rules, frames, first, second in (
        ({}, 7, (1 + 2 + 3 + 4 + 5) / 5, 6.5),
        ({"tail": "twice"}, 8, (1 + 2 + 3 + 10 + 4 + 5) / 6, 6.5),
        ({"padding": "counted"}, 8, 3, 113 / 3),
        ({"tail": "twice", "padding": "counted"}, 9, 25 / 6, 113 / 3),
    ):
        scores = score(predictions, dataset, accounting=Accounting(**rules))
        assert len(scores.errors) == len(scores.per_frame) == frames
        assert list(scores.per_action["mpjpe"].values()) == pytest.approx([first * root, second * root], rel=1e-4)


def test_the_root_is_zeroed_left_or_subtracted():
    dataset = skewed([3])
    predictions = off_by(dataset, Window(3), [[17, 34, 51]])
    assert summary(predictions, dataset)["mpjpe"] == pytest.approx(32, rel=1e-4)
    assert summary(predictions, dataset)["mpjpe_raw_root"] == pytest.approx(34, rel=1e-4)
    raw = summary(predictions, dataset, root="raw")
    assert raw["mpjpe"] == pytest.approx(34, rel=1e-4)
    assert "mpjpe_raw_root" not in raw
    assert summary(predictions, dataset, root="reroot")["mpjpe"] == pytest.approx(0, abs=1e-4)


def test_a_prefix_swallows_the_frames_of_longer_names():
    dataset = skewed([2, 4], ["Sit", "SitDown"])
    predictions = off_by(dataset, Window(2), [[17, 17], [34, 34], [34, 34]])
    equal, prefix = (score(predictions, dataset, accounting=Accounting(action=how)) for how in ("equal", "prefix"))
    assert equal.per_action["mpjpe"] == pytest.approx({"Sit": 16, "SitDown": 32}, rel=1e-4)
    assert prefix.per_action["mpjpe"] == pytest.approx({"Sit": 16 * (2 + 8) / 6, "SitDown": 32}, rel=1e-4)
    assert len(prefix.errors) == 10
    assert equal.per_frame.groupby("sequence").size().to_dict() == {"Sit": 2, "SitDown": 4}


def test_velocity_within_videos_across_windows_and_across_videos():
    # The steps of the error along y are 16/17 of these; targets move by 1 along x, and so do predictions.
    dataset = skewed([5, 3], ["sit", "sit"])
    predictions = off_by(dataset, Window(3), [[0, 1, 3], [0, 3, 4], [9, 9, 12]])
    share = 16 / 17
    within, other = (1 + 2 + 0 + 1) / 4, (0 + 3) / 2
    for rules, expected in (
        ({}, share * (1 + 2 + 0 + 1 + 0 + 3) / 6),
        ({"velocity": "frames"}, share * (5 * within + 3 * other) / 8),
        # Laid end to end the first video is frames 0 1 2 | 2 3 4: its error jumps back by 3 mm at the join.
        ({"velocity": "windows"}, share * (5 * (1 + 2 + 3 + 3 + 1) / 5 + 3 * other) / 8),
        ({"velocity": "windows", "tail": "twice"}, share * (6 * (1 + 2 + 3 + 3 + 1) / 5 + 3 * other) / 9),
        # All three windows in a batch: the step from one video to the next counts. Two in a batch: it does not.
        ({"velocity": "batch"}, share * (1 + 2 + 0 + 1 + 5 + 0 + 3) / 7),
        ({"velocity": "batch", "velocity_batch": 2}, share * (5 * within + 3 * other) / 8),
        # One in a batch: the first has two steps, the second's two counted frames one.
        ({"velocity": "batch", "velocity_batch": 1}, share * (3 * 1.5 + 2 * 1 + 3 * other) / 8),
    ):
        assert summary(predictions, dataset, **rules)["mpjve"] == pytest.approx(expected, rel=1e-4), rules
    assert "mpjve" not in summary(predictions, dataset, velocity="none")


def test_batches_never_mix_actions_in_velocity():
    dataset = skewed([3, 3], ["sit", "walk"])
    predictions = off_by(dataset, Window(3), [[0, 1, 2], [50, 52, 54]])
    assert summary(predictions, dataset, velocity="batch")["mpjve"] == pytest.approx(16 / 17 * 1.5, rel=1e-4)


def test_p_mpjpe_is_a_mean_where_a_batch_mixes_actions():
    dataset = toy_dataset([("S1", action, action, "a", frames) for action, frames in (("sit", 5), ("walk", 3))])
    window = Window(1)
    noise = np.random.default_rng(0).normal(0, 0.05, (8, 1, 17, 3)).astype(np.float32)
    predictions = Predictions(window, scored_windows(dataset, window), dataset.poses_3d.numpy()[:, None] + noise)
    each = score(predictions, dataset).values["p_mpjpe"]
    mixed = score(predictions, dataset, accounting=Accounting(p_mpjpe="batch", p_mpjpe_batch=4)).values["p_mpjpe"]
    np.testing.assert_array_equal(mixed[:4], each[:4])  # all of one action
    np.testing.assert_allclose(mixed[4:], each[4:].mean(), rtol=1e-6)


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_scored_is_what_the_windows_of_that_accounting_count(name):
    """Also of videos shorter than a window, which MixSTE's code pads on the right and Diff3DHPE's on the left."""
    lengths, window = [3, 8, 9, 13, 20], Window(9)
    dataset = skewed(lengths)
    accounting = replace(PRESETS[name].accounting, root="raw", action="equal", velocity="none", p_mpjpe="frame")
    method = ClosedForm(window, 0, "windowed")

    laid = test_windows(lengths, window, accounting)
    batch, counts = gather(dataset, laid, window), counted_frames(laid, window)
    errors = (method.lift(batch.keypoints_2d) - batch.poses_3d).norm(dim=-1)[torch.from_numpy(counts)]

    scores = score(predict(method, dataset, flip=False, accounting=accounting), dataset, accounting=accounting)
    np.testing.assert_array_equal(scores.rows, block_rows(dataset, laid, window)[counts])
    np.testing.assert_allclose(scores.errors, 1000 * errors, atol=1e-3)
    assert len(scores.rows) == {"mixste": 9 * 8, "diff3dhpe": 9 + 9 + 9 + 13 + 20}.get(name, sum(lengths))


def test_valid_frames_alone_count_whatever_the_tail():
    valid = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1], dtype=torch.bool)
    dataset = replace(skewed([8]), valid=valid)
    predictions = off_by(dataset, Window(5), [[1, 2, 3, 4, 5], [60, 50, 6, 7, 8]])  # frames 0 to 4, 3 to 7
    once, twice = (summary(predictions, dataset, tail=tail)["mpjpe"] for tail in ("once", "twice"))
    assert once == pytest.approx(16 / 17 * (2 + 5 + 6 + 8) / 4, rel=1e-4)
    assert twice == pytest.approx(16 / 17 * (2 + 5 + 50 + 6 + 8) / 5, rel=1e-4)


def test_shared_is_what_stands_in_a_finished_record():
    """Bit for bit what the suite gave before there were other accountings."""
    dataset = toy_dataset()
    for window in (Window(9), Window(9, "centre")):
        predictions = predict(ClosedForm(window, 0, "windowed"), dataset)
        scores = score(predictions, dataset)
        predicted = torch.from_numpy(predictions.per_frame(dataset)).double() * 1000
        target = dataset.poses_3d.double() * 1000
        root_errors = predicted[:, 0].norm(dim=-1)
        predicted[:, 0] = 0
        np.testing.assert_array_equal(scores.rows, np.arange(len(target)))
        np.testing.assert_array_equal(scores.errors, (predicted - target).norm(dim=-1).float())
        np.testing.assert_array_equal(scores.values["p_mpjpe"], metrics.p_mpjpe(predicted, target, "none").float())
        np.testing.assert_array_equal(scores.values["n_mpjpe"], metrics.n_mpjpe(predicted, target, "none").float())
        mpjpe = scores.errors.astype(np.float64).mean(axis=1)
        np.testing.assert_array_equal(scores.values["mpjpe"], mpjpe)
        np.testing.assert_array_equal(
            scores.values["mpjpe_raw_root"], mpjpe + root_errors.float().double().numpy() / 17
        )
        steps = metrics.mpjve(predicted, target, "none", lengths=dataset.lengths.tolist()).float()
        np.testing.assert_array_equal(scores.values["mpjve"][~np.isnan(scores.values["mpjve"])], steps)
        assert np.flatnonzero(np.isnan(scores.values["mpjve"])).tolist() == dataset.starts.tolist()


# Which one


def test_every_preset_but_shared_departs_from_it_and_says_how():
    assert str(PRESETS["shared"]) == "this suite: the rules of shared"
    assert str(PRESETS["mixste"]).startswith("Zhang et al., CVPR 2022: the last window of a video counts whole")
    assert "a batch of 512 windows" in str(PRESETS["diff3dhpe"])
    assert "batches of 160 frames" in str(PRESETS["pstmo"])
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert (name == "shared") == (preset.accounting == SHARED)
        assert (name == "shared") == (not preset.accounting.departures)


def test_a_method_is_counted_as_its_own_code_does_on_that_data_set():
    assert accounting_of("shared", "anything", "h36m") == SHARED
    assert for_method("pstmo", "h36m").name == for_method("pstmo", "cmu").name == "pstmo"
    assert for_method("pstmo", "3dhp").name == "pstmo_3dhp"
    assert [one.name for one in presets("3dhp")] == ["shared", "pstmo_3dhp", "diff3dhpe_3dhp", "d3dp_3dhp"]
    assert "mixste" in {one.name for one in presets("synthetic")}


@pytest.mark.parametrize(("method", "dataset"), [("mean_pose", "h36m"), ("mixste", "3dhp"), ("shared", "h36m")])
def test_a_method_without_an_accounting_of_its_own_is_refused(method, dataset):
    with pytest.raises(BenchError, match=f"{method}: no published accounting is known for it on {dataset}"):
        accounting_of("as-published", method, dataset)
