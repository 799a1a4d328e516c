"""The audit: the same predictions under every accounting, then under `shared` with one rule changed at a time.

It shows how far apart two published numbers can be for the same predictions. Rules are numbered as in
docs/reference/protocols.md.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tabulate import tabulate

from bench.config.accounting import SHARED, Preset, is_3dhp, presets
from bench.config.schema import Averaging, Benchmark
from bench.data.known import H36M_DRIFTING
from bench.data.pose_dataset import PoseDataset, offsets
from bench.data.windows import scored_windows
from bench.evaluation.predictions import Predictions, predict
from bench.evaluation.scores import Scores
from bench.evaluation.scoring import score
from bench.results.metrics import columns, metrics
from bench.runs.plan import Run, one_run
from bench.show.tables import NONE
from bench.system.device import choose_device
from bench.system.errors import BenchError, missing_file
from bench.system.paths import shown


@dataclass(frozen=True)
class Rule:
    """One rule of published code that `shared` does not have, and the metrics it moves."""

    number: str  # in docs/reference/protocols.md
    what: str
    whose: str
    changes: Mapping[str, Any]  # of fields of `shared`
    metrics: tuple[str, ...] = ("mpjpe",)


ALL_JOINTS = ("mpjpe", "p_mpjpe", "n_mpjpe", "mpjve")  # metrics that take the root for one of the joints
REROOTED = Rule("A6", "predicted root subtracted from every joint", "other code", {"root": "reroot"})
ACROSS_VIDEOS = Rule("A9", "MPJVE across the videos of a batch", "Diff3DHPE", {"velocity": "batch"}, ("mpjve",))
OF_HUMAN36M = (
    Rule("A1, A2", "last window counts whole, overlap twice", "MixSTE", {"tail": "twice"}, ("mpjpe", "p_mpjpe")),
    Rule("A1", "padding of short videos counts", "MixSTE, Diff3DHPE", {"padding": "counted"}),
    Rule("A6", "root as predicted", "all but P-STMO", {"root": "raw"}, ALL_JOINTS),
    REROOTED,
    Rule("A7", "action by prefix", "Diff3DHPE", {"action": "prefix"}),
    Rule("A8", "P-MPJPE averaged where a batch mixes actions", "P-STMO", {"p_mpjpe": "batch"}, ("p_mpjpe",)),
    Rule("A9", "MPJVE across windows laid end to end", "MixSTE", {"velocity": "windows"}, ("mpjve",)),
    ACROSS_VIDEOS,
    Rule("A10", "MPJVE weighted by frames, not steps", "VideoPose3D, PoseFormer", {"velocity": "frames"}, ("mpjve",)),
)
README, ALIKE = {"average": "actions", "sequence_weights": "readme"}, {"average": "actions"}
OF_3DHP = (
    Rule("A6", "root as predicted", "Diff3DHPE", {"root": "raw"}, ALL_JOINTS),
    REROOTED,
    ACROSS_VIDEOS,
    Rule("A21", "sequences weighted by 2,929 frames", "P-STMO, official README", README, ("mpjpe", "pck", "auc")),
    Rule("A22", "plain mean of the six sequences", "D3DP, Diff3DHPE", ALIKE, ("mpjpe", "pck", "auc")),
    Rule("A23", "PCK and AUC over 17 joints", "mmpose (for MixSTE)", {"pck_joints": 17}, ("pck", "auc")),
)
OVER_FRAMES = Rule("-", "mean over frames, not over actions", "only to choose an epoch", {"average": "frames"})

# Rules outside an accounting: other frames to score, or another input.
WITHOUT_DRIFTING = Rule("A18", "three sequences of S9 with drifting labels left out", "MotionBERT", {})
PLAIN = Rule("A14", "no average with the mirrored input", "none: on in all five", {}, ("mpjpe", "p_mpjpe", "mpjve"))
MIRRORED = Rule("A14", "average with the mirrored input", "all five", {}, ("mpjpe", "p_mpjpe", "mpjve"))
VALID_ALONE = Rule("A24", "windows over valid frames alone", "mmpose (for MixSTE)", {}, ("mpjpe", "pck", "auc"))

UNSEEN = (
    "Not visible in predictions, see docs/reference/protocols.md: "
    "A3 to A5, A11 to A13, A15 to A17, A19, A20, A25 to A28."
)


@dataclass(frozen=True)
class Audit:
    """The outcome of an audit, one row per metric.

    presets: preset, paper, own (whether it is the method's), frames counted, metric, unit, shared, value, difference.
    rules: number, rule, published_by, metric, unit, shared, value, difference.
    """

    title: str
    presets: pd.DataFrame
    rules: pd.DataFrame
    notes: list[str]

    @property
    def table(self) -> pd.DataFrame:
        """Both as one tidy table, each preset as a rule."""
        named = self.presets.assign(rule="preset " + self.presets["preset"], published_by=self.presets["paper"])
        return pd.concat([named, self.rules])[["number", "rule", "published_by", "frames", "metric", *_VALUES]]

    @property
    def text(self) -> str:
        """Both as text tables."""
        rows: list[dict[str, str]] = []
        for (name, own), lines in self.presets.groupby(["preset", "own"], sort=False):
            row = {"accounting": f"{name} *" if own else str(name), "frames counted": f"{lines['frames'].iloc[0]:,}"}
            rows.append(row | {_titled(one): _number(one["value"], one) for one in _dicts(lines)})
        changed: list[dict[str, str]] = [
            {
                "": one["number"],
                "rule": one["rule"],
                "published by": one["published_by"],
                "metric": _titled(one),
                "shared": _number(one["shared"], one),
                "with the rule": _number(one["value"], one),
                "difference": _number(one["difference"], one, sign="+"),
            }
            for one in _dicts(self.rules)
        ]
        starred = " (* the method's own)" if self.presets["own"].any() else ""
        parts = [self.title, f"The same predictions under every accounting{starred}", _text_table(rows, texts=1)]
        parts += ["One rule of shared changed at a time", _text_table(changed, texts=4), "\n".join(self.notes)]
        return "\n\n".join(parts)


_VALUES = ("unit", "shared", "value", "difference")


def audit(
    benchmark: Benchmark,
    method: str,
    *,
    seed: int = 0,
    data: str | Path | None = None,
    weights: Mapping[str, Path] | None = None,
    imported: bool = True,
    predictions: Path | None = None,
    lift: bool = False,
    device: str = "auto",
) -> Audit:
    """Score the predictions of a run under every accounting.

    method: its key in the benchmark. data, weights, imported: as `bench.runs.plan.one_run`. predictions: a file,
    instead of the run's. lift: also measure the rules that need the network, with the weights of the run. Raises
    BenchError if there are no predictions of this test set.
    """
    if lift and predictions:
        raise BenchError("lifting again needs the weights of a run; a file of predictions has none")
    where = choose_device(device)
    run, split = one_run(benchmark, method, seed, data=data, weights=weights, imported=imported)
    testing = split.testing
    found = _predictions(run, testing, predictions)
    averaging = benchmark.protocol.averaging

    scored = {one: score(found, testing, averaging, one.accounting) for one in presets(testing.name)}
    shared = next(iter(scored.values()))
    by_preset = [
        {"preset": one.name, "paper": one.paper, "own": _is_own(one, run), "frames": len(scores.errors)} | compared
        for one, scores in scored.items()
        for compared in _compared(shared, scores, [name for name in shared.units if name in columns()])
    ]
    by_rule = [line for rule, scores in _by_rule(found, testing, averaging) for line in _lines(rule, shared, scores)]
    if lift:
        lifted = _by_lifting(run, testing, averaging, where)
        by_rule += [line for rule, scores in lifted for line in _lines(rule, shared, scores)]
    title = (
        f"{benchmark.name}, {method}: {shown(predictions) if predictions else run.name}\n"
        f"{testing.name}, {testing.keypoints} keypoints, {', '.join(benchmark.protocol.test_subjects)}: "
        f"{len(testing.sequences):,} videos, {len(testing.counted):,} frames to count, windows of {found.window.frames}"
    )
    return Audit(title, pd.DataFrame(by_preset), pd.DataFrame(by_rule), _notes(testing, found, lift))


def _predictions(run: Run, testing: PoseDataset, file: Path | None) -> Predictions:
    """The predictions of a run, or of a file. Raises BenchError if there are none, or not of these videos."""
    path = file or run.kept_predictions()
    if not path.is_file():
        raise missing_file(shown(path))
    try:
        found = Predictions.load(path)
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        raise BenchError(f"{shown(path)} is not a file of predictions as `bench run` writes it: {error}") from None
    expected = [scored_windows(testing, found.window, one.accounting) for one in presets(testing.name)]
    shape = (len(expected[0]), found.window.answers, len(testing.skeleton), 3)
    if not any(np.array_equal(found.table, one) for one in expected) or found.poses_3d.shape != shape:
        raise BenchError(
            f"{shown(path)}: these predictions are not of the test videos of {run.benchmark.name}, "
            f"{', '.join(run.benchmark.protocol.test_subjects)} of {testing.name}"
        )
    return found


def _is_own(preset: Preset, run: Run) -> bool:
    return preset.name.removesuffix("_3dhp") == run.registered


def _by_rule(predictions: Predictions, testing: PoseDataset, averaging: Averaging) -> Iterator[tuple[Rule, Scores]]:
    """`shared` with one rule changed at a time."""
    rules = OF_3DHP if is_3dhp(testing.name) else OF_HUMAN36M
    for rule in rules + ((OVER_FRAMES,) if averaging == "actions" else ()):
        yield rule, score(predictions, testing, averaging, replace(SHARED, **rule.changes))
    videos = testing.sequences[["subject", "sequence"]].apply(tuple, axis=1)
    drifting = videos.isin(H36M_DRIFTING) & (testing.name == "h36m")
    if drifting.any():
        kept = torch.from_numpy(np.repeat(~drifting.to_numpy(), testing.lengths))
        yield WITHOUT_DRIFTING, score(predictions, replace(testing, valid=kept), averaging)


def _by_lifting(
    run: Run, testing: PoseDataset, averaging: Averaging, device: torch.device
) -> Iterator[tuple[Rule, Scores]]:
    """`shared` with one rule changed that acts before prediction."""
    method = run.trained(len(testing.skeleton))
    flip = run.benchmark.protocol.flip_test
    changed = [(MIRRORED if not flip else PLAIN, testing, not flip)]
    if testing.valid is not None:
        changed.append((VALID_ALONE, _valid_alone(testing), flip))
    for rule, dataset, mirrored in changed:
        label = f"{run.name} {rule.number}"
        lifted = predict(method, dataset, flip=mirrored, seed=run.seed, device=device, label=label)
        yield rule, score(lifted, dataset, averaging)


def _valid_alone(dataset: PoseDataset) -> PoseDataset:
    """The valid frames of each video laid end to end, as if there were no others."""
    rows = torch.from_numpy(dataset.counted)
    videos = np.repeat(np.arange(len(dataset.sequences)), dataset.lengths)[dataset.counted]
    frames = np.bincount(videos, minlength=len(dataset.sequences))
    sequences = dataset.sequences.assign(frames=frames, start=offsets(frames))
    return replace(
        dataset,
        sequences=sequences[frames > 0].reset_index(drop=True),
        keypoints_2d=dataset.keypoints_2d[rows],
        poses_3d=dataset.poses_3d[rows],
        roots=dataset.roots[rows],
        valid=None,
        activities=None if dataset.activities is None else dataset.activities[rows],
    )


def _lines(rule: Rule, shared: Scores, changed: Scores) -> list[dict[str, Any]]:
    about = {"number": rule.number, "rule": rule.what, "published_by": rule.whose}
    return [about | compared for compared in _compared(shared, changed, rule.metrics)]


def _compared(shared: Scores, changed: Scores, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The headline numbers of both, and second minus first; NaN for a metric that an accounting does not compute.

    Metrics that are not defined for these joints are left out.
    """
    for metric in (name for name in names if name in shared.units):
        before, after = (scores.summary.get(metric, math.nan) for scores in (shared, changed))
        numbers = {"shared": before, "value": after, "difference": after - before}
        yield {"metric": metric, "unit": shared.units[metric], **numbers}


def _notes(testing: PoseDataset, predictions: Predictions, lifted: bool) -> list[str]:
    notes = []
    of_3dhp = is_3dhp(testing.name)
    if testing.name != "h36m" and not of_3dhp:
        notes.append(f"No paper publishes numbers on {testing.name}: these are the accountings of Human3.6M on it.")
    actions = sorted(set(testing.sequences["action"]))
    if not of_3dhp and not any(a != b and b.startswith(a) for a in actions for b in actions):
        notes.append("A7 changes nothing here: no action's name begins with another's.")
    if not of_3dhp and predictions.window.targets != "all":
        notes.append("A1 and MPJVE across windows change nothing here: a window answers for one frame.")
    if not lifted:
        lacking = "A14 and A24 need" if of_3dhp else "A14 needs"
        notes.append(f"{lacking} the network: --lift lifts the test set again.")
    return [*notes, UNSEEN]


# Layout


def _dicts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries."""
    return [{str(key): value for key, value in line.items()} for line in table.to_dict("records")]


def _titled(line: Mapping[str, Any]) -> str:
    return f"{metrics()[line['metric']].title} ({line['unit']})"


def _number(value: float, line: Mapping[str, Any], sign: str = "") -> str:
    """One digit more than in tables: most rules change less than those show."""
    digits = metrics()[line["metric"]].digits + 1
    return NONE if math.isnan(value) else f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no -0.00


def _text_table(rows: Sequence[Mapping[str, str]], texts: int) -> str:
    """A plain table whose first columns are texts."""
    alignment = ["left" if number < texts else "right" for number in range(len(rows[0]))]
    return tabulate(rows, headers="keys", disable_numparse=True, colalign=alignment)
