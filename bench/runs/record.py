"""The outcome of a run as a record."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, get_args

import torch

from bench.config.schema import Averaging
from bench.data.pose_dataset import PoseDataset
from bench.data.split import Split
from bench.evaluation.scores import Scores
from bench.method.base import Method
from bench.method.cost import macs_per_frame
from bench.method.registry import method_class
from bench.results import records
from bench.results import statistics as stats
from bench.results.metrics import metrics
from bench.results.records import Record
from bench.runs.course import Course
from bench.runs.plan import Run
from bench.system.device import resolved_precision
from bench.system.provenance import hardware_text
from bench.training.loop import Trained


@dataclass(frozen=True)
class Made:
    """How a record was made.

    with_: as `bench.system.provenance.provenance`, taken before training. log_id: the id of the run in the log.
    """

    device: torch.device
    with_: dict[str, Any]
    log_id: str | None
    scoring_revision: int


def make_record(
    run: Run, method: Method, course: Course, scores: Scores, cost: records.Cost | None, split: Split, made: Made
) -> Record:
    """The record of a run. cost: of predicting, if that was done just now."""
    trained = course.trained
    training = {"kept": trained.kept, **_course(trained)}
    if (best := trained.best_epoch) is not None:
        chosen_on = "test" if trained.kept == "best-test" else "validation"
        training |= {"best_epoch": best + 1, f"{chosen_on}_mpjpe_mm": trained.history[best].validation_mpjpe_mm}
    if defects := _as_published(run):
        training["as_published"] = defects
    if split.crosses:
        training["data_fingerprint"] = split.training.fingerprint
    if course.stages:
        training["stages"] = {stage: _course(one) for stage, one in course.stages.items()}
    return Record(
        schema=records.SCHEMA,
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
        precision=resolved_precision(run.settings.recipe.precision, made.device),
        scoring_revision=made.scoring_revision,
        provenance=origin(split.testing, made.with_, run.config_hash, made.log_id),
    )


def measured(scores: Scores, accounting: str = "shared") -> dict[str, Any]:
    """The numbers of a record.

    Rules as published count frames twice, for two actions or by batch: then no blocks make up the headline, so there is
    no interval. The `shared` score of the same predictions has both.
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


def _shown(scores: Scores) -> list[str]:
    """The computed metrics that may be shown: those have blocks and intervals."""
    return [name for name in scores.units if metrics()[name].column != "never"]


def _blocks(scores: Scores) -> tuple[records.Block, ...]:
    """Counts and mean scores per test sequence of each subject."""
    taken = _shown(scores)
    by_block = scores.per_frame.groupby(stats.BLOCK, sort=True)[taken]
    counts, means = by_block.count(), by_block.mean()
    return tuple(
        records.Block(
            **dict(zip(stats.BLOCK, map(str, name), strict=True)),
            frames=int(counts["mpjpe"].iloc[number]),
            steps=int(counts["mpjve"].iloc[number]),
            counts={
                metric: int(count)
                for metric, count in counts.iloc[number].items()
                if metric != "mpjve" and count < counts["mpjpe"].iloc[number]
            },
            means={str(metric): float(value) for metric, value in means.iloc[number].dropna().items()},
        )
        for number, name in enumerate(means.index)
    )


def _intervals(scores: Scores) -> dict[str, tuple[float, float]]:
    """The 95 % interval of every mean over actions or frames that `Scores.summary` has, if there are two blocks."""
    found = {}
    for metric in _shown(scores):
        for averaging in get_args(Averaging):
            name = metric if averaging == scores.averaging else f"{metric}_{averaging}"
            if name in scores.summary:
                blocks = stats.blocks(scores.per_frame, metric, averaging)
                if interval := stats.headline_interval(blocks):
                    found[name] = (interval.low, interval.high)
    return found


def origin(
    dataset: PoseDataset, made_with: dict[str, Any], config_hash: str, mlflow_run_id: str | None
) -> records.Provenance:
    """Where the numbers of a record come from. made_with: as `bench.system.provenance.provenance`."""
    git, hardware = made_with["git"]["sha"], made_with["hardware"]
    return records.Provenance(
        mlflow_run_id=mlflow_run_id,
        git=f"{git}-dirty" if git and made_with["git"]["dirty"] else git,
        config_hash=config_hash,
        data_fingerprint=dataset.fingerprint,
        packages={name: version for name, version in made_with["packages"].items() if version},
        hardware=hardware_text(hardware),
        finished_at=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
    )


def _as_published(run: Run) -> dict[str, Any]:
    """The settings that `recipe.as_published: true` adds to those that the benchmark states."""
    pairs = {
        "model": (run.settings.model, run.entry.model),
        "recipe": (run.settings.recipe.model_dump(mode="json"), run.entry.recipe.model_dump(mode="json")),
    }
    if run.weights or not run.entry.recipe.as_published:
        return {}
    found = {
        part: {key: value for key, value in resolved.items() if key not in stated or stated[key] != value}
        for part, (resolved, stated) in pairs.items()
    }
    return {part: changes for part, changes in found.items() if changes}


def _settings(run: Run) -> dict[str, Any]:
    """The settings, to be compared with the benchmark's file; for published weights, their origin."""
    if run.weights:
        return {"model": run.settings.model, "weights": run.weights.origin.model_dump()}
    stages = {name: stage.model_dump(mode="json") for name, stage in run.entry.stages.items()}
    for stage in run.stages:
        if stage.weights:
            stages[stage.stage] = {"weights": stage.weights.origin.model_dump()}
    recipe = run.entry.recipe.model_dump(mode="json") if method_class(run.registered).trainable else {}
    return {"model": run.entry.model, "recipe": recipe, "stages": stages}


def _course(trained: Trained) -> dict[str, Any]:
    """A summary of a training."""
    course: dict[str, Any] = {} if trained.windows is None else {"windows": trained.windows}
    if trained.history:
        last = trained.history[-1]
        course |= {"epochs": len(trained.history), "seconds": trained.seconds}
        course |= {"frames_per_second": last.frames_per_second, "final_loss": last.loss["total"]}
    return course
