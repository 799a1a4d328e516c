"""What is logged for a run: parameters, tags and data; at the end numbers, artifacts and the trained method."""

from __future__ import annotations

import platform
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from typing import Protocol as Interface

import numpy as np
import pandas as pd

from bench.config.schema import Benchmark, Protocol
from bench.data.pose_dataset import PoseDataset
from bench.evaluation.groups import official_tables
from bench.evaluation.predictions import Predictions
from bench.evaluation.scores import Scores
from bench.method import checkpoint
from bench.method.base import Method
from bench.method.logged_model import trained_model
from bench.results import records, tracking
from bench.results.records import Record
from bench.runs.plan import Run, StageRun
from bench.show import draw
from bench.system import paths
from bench.system.progress import say


class Scored(Interface):
    """What was scored: a run of the suite, or predictions or a model made elsewhere."""

    @property
    def benchmark(self) -> Benchmark: ...
    @property
    def key(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def outcome_folder(self) -> Path: ...


def log_all(name: str, parts: Mapping[str, Callable[[], None]]) -> None:
    """Log each part of a finished run; for a part that fails, one line says so."""
    for what, work in parts.items():
        try:
            work()
        except Exception as error:  # a full disk, a server that is gone, a picture that cannot be drawn
            say(f"{name}: {what} not in the log: {type(error).__name__}: {error}")


def log_outcome(log: tracking.LoggedRun, run: Scored, record: Record, scores: Scores) -> None:
    """Log the final numbers and the main tables."""
    final = {f"test/{logged_name(name, metric)}": metric.value for name, metric in record.metrics.items()}
    for action, values in record.per_action.items():
        final[f"test/mpjpe_mm/{action}"] = values["mpjpe"]
    for joint, values in record.per_joint.items():
        final[f"test/joint_mpjpe_mm/{joint}"] = values["mpjpe"]
    sizes = {"cost/parameters": record.parameters, "cost/macs_per_frame": record.macs_per_frame}
    final |= {name: float(size) for name, size in sizes.items() if size is not None}  # unknown is not zero
    if record.cost:
        final["cost/test_frames_per_second"] = record.cost.test_frames_per_second
        if record.cost.peak_memory_mb:
            final["cost/peak_memory_mb"] = record.cost.peak_memory_mb
    step = int(record.training.get("epochs") or 0)
    log.metrics(step, final)
    log.flush()
    log.json(record.model_dump(mode="json", by_alias=True), "record.json")
    log.json({"run_key": run.key, "benchmark": run.benchmark.model_dump(mode="json")}, "config.json")
    by_action = scores.table.pivot(index="action", columns="metric", values="value")
    log.text(by_action.round(4).to_csv(), "per_action.csv")
    by_group = [
        {"kind": kind, "name": name, **values}
        for kind, names in scores.groups.items()
        for name, values in names.items()
    ]
    log.text(pd.DataFrame(by_group).round(4).to_csv(index=False), "per_group.csv")
    for by, table in official_tables(scores).items():
        log.text(table.round(4).to_csv(), f"official_{by}_wise.csv")
    by_video = scores.per_frame.groupby(["subject", "action", "sequence", "camera"], as_index=False, sort=False)
    log.text(by_video.mean(numeric_only=True).round(4).to_csv(index=False), "errors_per_video.csv")
    errors = run.outcome_folder / "errors_mm.npz"  # (frames, joints), in the order of errors_per_video.csv's videos
    with paths.whole_file(errors) as unfinished, unfinished.open("wb") as stream:
        np.savez_compressed(stream, errors_mm=scores.errors)
    log.file(errors)


def log_picture(
    log: tracking.LoggedRun, run: Scored, scores: Scores, predictions: Predictions, testing: PoseDataset
) -> None:
    """Log a picture of the frame with the median error."""
    picture = run.outcome_folder / "median_frame.png"
    draw_median_frame(picture, predictions, scores, testing)
    log.file(picture, "figures")


def log_weights(log: tracking.LoggedRun, run: Run) -> None:
    """Log a copy of the weights that were tested."""
    log.file(run.weights_file, "checkpoints")


def logged_name(name: str, metric: records.Metric) -> str:
    """The name of a number in the log: with its unit, in letters and digits that every tracker accepts.

    "mm/frame²" becomes "mm_per_frame2"; other characters are left out.
    """
    if metric.unit == "mm/frame":
        return f"{name}_mm"  # as it has always been logged
    spelt = metric.unit.replace("%", " percent ").replace("°", " degrees ").replace("/", " per ")
    plain = unicodedata.normalize("NFKD", spelt).encode("ascii", "ignore").decode()  # ² is 2
    return "_".join([name, *re.findall(r"[A-Za-z0-9.-]+", plain)])


def log_model(log: tracking.LoggedRun, run: Run, method: Method, training: PoseDataset) -> None:
    """Log the trained method, so that it can be loaded from the log."""
    log.model(trained_model(checkpoint.load(run.weights_file), method.window, training.skeleton))


def draw_median_frame(path: Path, predictions: Predictions, scores: Scores, testing: PoseDataset) -> None:
    """Draw the frame with the median error: input, ground truth and prediction side by side."""
    errors = scores.errors.mean(axis=1)
    frame = int(errors.argsort(kind="stable")[len(errors) // 2])
    about, row = scores.per_frame.iloc[frame], scores.rows[frame]
    poses = {
        "ground truth": testing.poses_3d[row].numpy(),
        f"prediction, {errors[frame]:.0f} mm": predictions.per_frame(testing)[row],
    }
    title = f"median frame: {about['subject']} {about['sequence']}, camera {about['camera']}"
    keypoints_2d = testing.keypoints_2d[row].numpy()
    draw.skeleton_picture(path, poses, keypoints_2d=keypoints_2d, skeleton=testing.skeleton, title=title)


def parameters(work: Run | StageRun) -> dict[str, object]:
    """The parameters of a run or stage in the log: hyper-parameters, recipe and protocol, flat."""
    flat: dict[str, object] = {"method": work.method, "seed": work.seed}
    flat["registered"] = work.benchmark.registered(work.method)
    protocol = work.benchmark.protocol.model_dump(mode="json")
    parts = {**work.settings.model_dump(mode="json"), "protocol": protocol}
    parts |= {f"protocol.{side}": protocol.pop(side) for side in ("train", "test") if side in protocol}
    if work.weights:  # nothing is trained
        del parts["recipe"]
        parts["weights"] = work.weights.origin.model_dump()
    for part, values in parts.items():
        for key, value in values.items():
            flat[f"{part}.{key}"] = ",".join(map(str, value)) if isinstance(value, list) else value
    return flat


def tags(provenance: dict[str, Any], testing: PoseDataset, training: PoseDataset | None = None) -> dict[str, str]:
    """Where a run comes from, as tags.

    provenance: as `bench.system.provenance.provenance`. training: None where nothing was trained.
    """
    git = provenance["git"]
    found = {"git_sha": git["sha"], "git_dirty": git["dirty"], "data_sha256": testing.fingerprint}
    if training is not None and training.fingerprint != testing.fingerprint:
        found["training_data_sha256"] = training.fingerprint
    found |= {**provenance["packages"], "platform": platform.system()}
    return {name: str(value) for name, value in found.items() if value is not None}


def inputs(
    protocol: Protocol, testing: PoseDataset, training: PoseDataset | None = None
) -> list[tracking.DatasetInput]:
    """The data that a run reads, for the log. training: None where nothing was trained."""
    parts = {"train": protocol.fitted_subjects, "test": protocol.test_subjects}
    subjects = {f"{part}_subjects": ",".join(names) for part, names in parts.items()}

    def part(context: Literal["train", "test"], dataset: PoseDataset) -> tracking.DatasetInput:
        return tracking.DatasetInput(
            name=f"{dataset.name}-{dataset.keypoints}",
            digest=f"sha256:{dataset.fingerprint[:16]}",
            source=f"{dataset.name}, {dataset.keypoints} keypoints",
            context=context,
            tags={"sha256": dataset.fingerprint, **subjects},
        )

    return [*([] if training is None else [part("train", training)]), part("test", testing)]
