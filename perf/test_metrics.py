"""Metrics of 10,000 frames, in double precision as the protocol scores them."""

from __future__ import annotations

import pytest
import torch

from bench import metrics
from perf import reference

FRAMES = {"toy": 300, "full": 10_000}


@pytest.mark.benchmark(group="metrics")
@pytest.mark.parametrize("metric", ["mpjpe", "p_mpjpe", "n_mpjpe", "mpjve", "pck", "auc"])
def test_metric(measure, metric, toy):
    frames = FRAMES["toy" if toy else "full"]
    source = torch.Generator().manual_seed(6)
    target = torch.randn(frames, 17, 3, generator=source, dtype=torch.float64) * 300
    predicted = target + torch.randn(target.shape, generator=source, dtype=torch.float64) * 60
    inputs = (metrics.joint_errors(predicted, target),) if metric in ("pck", "auc") else (predicted, target)
    arrays = [one.numpy() for one in inputs]
    measure(
        f"{metric}, {frames:,} frames",
        lambda: getattr(metrics, metric)(*inputs),
        lambda: torch.tensor(getattr(reference, metric)(*arrays), dtype=torch.float64),
        rounds=3,
        tolerance=1e-9,
    )
