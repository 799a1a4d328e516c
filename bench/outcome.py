"""The outcome of a run: its record, and what MLflow keeps of it."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from typing import Protocol as Interface

import numpy as np
import pandas as pd

from bench import checkpoint, draw, logged_model, paths, records, stats, tracking
from bench.config import Averaging, Benchmark, Protocol
from bench.cost import macs_per_frame
from bench.data.pose_dataset import PoseDataset
from bench.data.split import Split
from bench.evaluation import MPI_INF_3DHP_METRICS, Predictions, Scores
from bench.groups import official_tables
from bench.method import Method
from bench.plan import Run, StageRun
from bench.records import Record
from bench.train import Trained


def make_record(
    run: Run,
    method: Method,
    trained: Trained,
    earlier: Mapping[str, Trained],
    scores: Scores,
    cost: records.Cost | None,
    split: Split,
    facts: dict[str, Any],
    mlflow_run_id: str | None,
) -> Record:
    """The record of a run.

    earlier: the stages that were trained before. cost: of predicting, if that was done just now. facts: as
    `bench.provenance.provenance`, taken before training.
    """
    training = {"kept": trained.kept, **_course(trained)}
    if (best := trained.best_epoch) is not None:
        judged_on = "test" if trained.kept == "best-test" else "validation"
        training |= {"best_epoch": best + 1, f"{judged_on}_mpjpe_mm": trained.history[best].validation_mpjpe_mm}
    if defects := _as_published(run):
        training["as_published"] = defects
    if split.crosses:
        training["data_fingerprint"] = split.training.fingerprint
    if earlier:
        training["stages"] = {stage: _course(one) for stage, one in earlier.items()}
    return Record(
        schema=1,
        run_key=run.key,
        benchmark=run.benchmark.name,
        method=run.method,
        registered=run.registered,
        seed=run.seed,
        accounting=run.benchmark.protocol.accounting,
        data=records.Data.of(run.benchmark.protocol),
        protocol=run.benchmark.protocol.model_dump(mode="json"),
        **_settings(run),
        receptive_field=method.window.frames,
        **measured(scores, run.benchmark.protocol.accounting),
        parameters=method.parameter_count,
        macs_per_frame=macs_per_frame(method, len(split.training.skeleton)),
        cost=cost,
        training=training,
        provenance=origin(split.testing, facts, run.config_hash, mlflow_run_id),
    )


def measured(scores: Scores, accounting: str = "shared") -> dict[str, Any]:
    """The numbers of a record.

    Rules that are as published count frames twice, for two actions or by batch: there are no blocks then that would
    make up the headline, and so no interval. The `shared` score of the same predictions has both.
    """
    blocks = _blocks(scores) if accounting == "shared" else ()
    intervals = _intervals(scores) if blocks else {}
    per_action: dict[str, dict[str, float]] = {}
    for metric, values in scores.per_action.items():
        for action, value in values.items():
            per_action.setdefault(action, {})[metric] = value
    return {
        "metrics": {
            name: records.Metric(value=value, unit=scores.unit(name), ci=intervals.get(name))
            for name, value in scores.summary.items()
        },
        "per_action": per_action,
        "per_joint": {joint: {"mpjpe": value} for joint, value in scores.per_joint.items()},
        "groups": scores.groups,
        "blocks": blocks,
        "frames": len(scores.errors),
        "sequences": len(scores.sequences),
    }


BY_BLOCK = ("mpjpe", "p_mpjpe", "n_mpjpe", "mpjve", *MPI_INF_3DHP_METRICS)


def _blocks(scores: Scores) -> tuple[records.Block, ...]:
    """What each test sequence of each subject scored."""
    taken = [metric for metric in BY_BLOCK if metric in scores.units]
    by_block = scores.per_frame.groupby(stats.BLOCK, sort=True)[taken]
    counts, means = by_block.count(), by_block.mean()
    return tuple(
        records.Block(
            **dict(zip(stats.BLOCK, map(str, name), strict=True)),
            frames=int(counts["mpjpe"].iloc[number]),
            steps=int(counts["mpjve"].iloc[number]),
            means={str(metric): float(value) for metric, value in means.iloc[number].dropna().items()},
        )
        for number, name in enumerate(means.index)
    )


def _intervals(scores: Scores) -> dict[str, tuple[float, float]]:
    """The 95 % interval of every mean over actions or frames that `Scores.summary` has, if there are two blocks."""
    found = {}
    for metric in BY_BLOCK:
        for averaging in get_args(Averaging):
            name = metric if averaging == scores.averaging else f"{metric}_{averaging}"
            if name in scores.summary:
                blocks = stats.blocks(scores.per_frame, metric, averaging)
                if interval := stats.interval(blocks["mean"], blocks["weight"]):
                    found[name] = (interval.low, interval.high)
    return found


def origin(
    dataset: PoseDataset, facts: dict[str, Any], config_hash: str, mlflow_run_id: str | None
) -> records.Provenance:
    """Where the numbers of a record come from."""
    git, hardware = facts["git"]["sha"], facts["hardware"]
    return records.Provenance(
        mlflow_run_id=mlflow_run_id,
        git=f"{git}-dirty" if git and facts["git"]["dirty"] else git,
        config_hash=config_hash,
        data_fingerprint=dataset.fingerprint,
        packages={name: version for name, version in facts["packages"].items() if version},
        hardware=", ".join(str(hardware[part]) for part in ("cpu", "cores", "gpu", "platform") if hardware[part]),
        finished_at=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
    )


def _as_published(run: Run) -> dict[str, Any]:
    """What `recipe.as_published: true` has set beyond what the benchmark states."""
    pairs = {
        "model": (run.settings.model, run.entry.model),
        "recipe": (run.settings.recipe.model_dump(mode="json"), run.entry.recipe.model_dump(mode="json")),
    }
    if run.weights or not run.entry.recipe.as_published:
        return {}
    found = {
        part: {key: value for key, value in settled.items() if key not in stated or stated[key] != value}
        for part, (settled, stated) in pairs.items()
    }
    return {part: changes for part, changes in found.items() if changes}


def _settings(run: Run) -> dict[str, Any]:
    """What a reader of the record compares with the benchmark's file; of published weights, which they are."""
    if run.weights:
        return {"model": run.settings.model, "weights": run.weights.origin.model_dump()}
    stages = {name: stage.model_dump(mode="json") for name, stage in run.entry.stages.items()}
    for stage in run.stages:
        if stage.weights:
            stages[stage.stage] = {"weights": stage.weights.origin.model_dump()}
    return {"model": run.entry.model, "recipe": run.entry.recipe.model_dump(mode="json"), "stages": stages}


def _course(trained: Trained) -> dict[str, Any]:
    """How a training went."""
    course: dict[str, Any] = {"windows": trained.windows}
    if trained.history:
        last = trained.history[-1]
        course |= {"epochs": len(trained.history), "seconds": trained.seconds}
        course |= {"frames_per_second": last.frames_per_second, "final_loss": last.loss["total"]}
    return course


class Scored(Interface):
    """What has been scored: a run of the suite, or something made elsewhere."""

    @property
    def benchmark(self) -> Benchmark: ...
    @property
    def key(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def outcome_folder(self) -> Path: ...


def log_outcome(
    log: tracking.Run, run: Scored, record: Record, scores: Scores, predictions: Predictions, testing: PoseDataset
) -> None:
    """Final numbers and the artifacts a person looks for first."""
    final = {f"test/{logged_name(name, metric)}": metric.value for name, metric in record.metrics.items()}
    for action, values in record.per_action.items():
        final[tracking.metric_name("test/mpjpe_mm", action)] = values["mpjpe"]
    for joint, values in record.per_joint.items():
        final[tracking.metric_name("test/joint_mpjpe_mm", joint)] = values["mpjpe"]
    final |= {
        "cost/parameters": float(record.parameters or 0),
        "cost/macs_per_frame": float(record.macs_per_frame or 0),
    }
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
    picture = run.outcome_folder / "median_frame.png"
    draw_median_frame(picture, predictions, scores, testing)
    log.file(picture, "figures")
    if (weights := run.folder / "weights.pt").is_file():
        log.file(weights, "checkpoints")


def logged_name(name: str, metric: records.Metric) -> str:
    """What MLflow calls a number: with its unit, as far as MLflow accepts that in a name."""
    units = {"mm": "mm", "mm/frame": "mm", "%": "percent"}  # MLflow accepts no more
    return f"{name}_{units[metric.unit]}"


def log_model(log: tracking.Run, run: Run, method: Method, training: PoseDataset) -> None:
    """The trained method as a model that MLflow loads."""
    content = checkpoint.load(run.folder / "weights.pt")
    log.model(lambda folder: logged_model.save_model(content, method.window, training.skeleton, folder))


def draw_median_frame(path: Path, predictions: Predictions, scores: Scores, testing: PoseDataset) -> None:
    """One picture: the frame with the median error, input, truth and prediction side by side."""
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
    """What MLflow shows as the parameters of a run or stage: hyper-parameters, recipe and protocol, flat."""
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


def tags(facts: dict[str, Any], testing: PoseDataset, training: PoseDataset | None = None) -> dict[str, str]:
    """Where a run comes from, as MLflow tags. training: None where nothing was trained."""
    git = facts["git"]
    found = {"git_sha": git["sha"], "git_dirty": git["dirty"], "data_sha256": testing.fingerprint}
    if training is not None and training.fingerprint != testing.fingerprint:
        found["training_data_sha256"] = training.fingerprint
    found |= {**facts["packages"], "platform": platform.system()}
    return {name: str(value) for name, value in found.items() if value is not None}


def inputs(
    protocol: Protocol, testing: PoseDataset, training: PoseDataset | None = None
) -> list[tracking.DatasetInput]:
    """The data as MLflow inputs, with our own digest. training: None where nothing was trained."""
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
