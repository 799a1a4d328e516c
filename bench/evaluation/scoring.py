"""From predictions to scores, by the rules of an accounting."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.config.accounting import SHARED, Accounting, accounting_of
from bench.config.load import load_benchmark
from bench.config.schema import Averaging, Benchmark, Protocol
from bench.data.mpi_inf_3dhp_labels import README_WEIGHTS
from bench.data.pose_dataset import PoseDataset
from bench.data.split import testing_part
from bench.evaluation.counting import ScoredPoses
from bench.evaluation.predictions import Predictions, predict
from bench.evaluation.scores import Scores
from bench.method.base import Method
from bench.results.metrics import Metric, metrics
from bench.system.progress import say

# Raise it by hand when scoring gives other numbers: each record holds the revision that it was scored by.
SCORING_REVISION = 1


def score(
    predictions: Predictions,
    dataset: PoseDataset,
    averaging: Averaging = "actions",
    accounting: Accounting = SHARED,
    only: Collection[str] | None = None,
) -> Scores:
    """Score predictions on the scored joints of the data set they were made for, by every metric defined for it.

    averaging: over what the headline is a mean, unless the accounting states it. only: metrics to take, default all.
    Raises ValueError unless the predictions have each valid frame exactly once. A metric of an installed package that
    fails is left out, with a line on standard error.
    """
    poses = ScoredPoses.of(predictions, dataset, accounting)
    rows = poses.counted.rows
    values = {}
    for name, metric in metrics().items():
        if (only is None or name in only) and (found := _values(metric, poses)) is not None:
            values[name] = found
    return Scores(
        sequences=dataset.sequences,
        rows=rows,
        errors=poses.errors.numpy(),
        values=values,
        joints=poses.joints,
        averaging=accounting.average or averaging,
        activities=None if dataset.activities is None else dataset.activities.numpy()[rows],
        actions=None if accounting.action == "equal" else poses.counted.actions,
        weights=README_WEIGHTS if accounting.sequence_weights == "readme" else None,
    )


def _values(metric: Metric, poses: ScoredPoses) -> NDArray[np.float64] | None:
    """The metric of each scored frame, (frames,); None where it is not defined or cannot be used."""
    if not metric.package:
        found = metric.load()(poses)
        return None if found is None else np.asarray(found, np.float64)
    try:
        found = metric.load()(poses.copied())
        if found is None:
            return None
        values = np.array(found.detach().cpu().numpy() if isinstance(found, torch.Tensor) else found, np.float64)
        problem = _problem(values, len(poses.predicted))
    except Exception as error:  # a function of another package may raise anything; the other metrics must not be lost
        problem = f"{type(error).__name__}: {error}"
    if problem:
        say(f"metric {metric.name!r} of the package {metric.package} is left out: {problem}")
        return None
    return values


def _problem(values: NDArray[np.float64], frames: int) -> str | None:
    """Why the values of a metric cannot be used; None if they can."""
    if values.shape != (frames,):
        return f"its function returned the shape {values.shape}, expected one value per scored frame, ({frames},)"
    if np.isinf(values).any():
        return f"{int(np.isinf(values).sum())} of its values are infinite"
    return "it has a value for none of the scored frames" if np.isnan(values).all() else None


def evaluate(
    method: Method,
    dataset: PoseDataset,
    benchmark: Benchmark | Protocol | str,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Scores:
    """Predict and score the test subjects of a benchmark, by the accounting that its protocol states.

    dataset: the data set to test on, whole or only its test subjects. benchmark: a benchmark, its protocol or its name.
    options: as `predict`.
    """
    if isinstance(benchmark, str):
        benchmark = load_benchmark(benchmark)
    protocol = benchmark.protocol if isinstance(benchmark, Benchmark) else benchmark
    accounting = accounting_of(protocol.accounting, method.name, protocol.tested_on.dataset)
    testing = testing_part(protocol, dataset)
    options.setdefault("flip", protocol.flip_test)
    predictions = predict(method, testing, seed=seed, device=device, accounting=accounting, **options)
    return score(predictions, testing, protocol.averaging, accounting)
