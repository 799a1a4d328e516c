"""The log of runs: which tracker keeps it.

    with open_tracker("demo").invocation("bench run demo", tags) as invocation:
        with invocation.run("mixste-s0", run_key=key, params=params, tags=tags) as run:
            run.metrics(epoch, {"train/loss": loss})

Tables are made of the record files; a log only tells what happened. `tracker` says what any tracker can do; `mlflow_*`
keeps the log in MLflow, `null` keeps none.
"""

from __future__ import annotations

import importlib.util

from bench.results.tracking.tracker import DatasetInput, Invocation, LoggedRun, Tracker, TrainedModel
from bench.system.errors import BenchError

__all__ = ["DatasetInput", "Invocation", "LoggedRun", "Tracker", "TrainedModel", "check_system_metrics", "open_tracker"]


def open_tracker(benchmark: str, *, enabled: bool = True, system_metrics: bool = False) -> Tracker:
    """The tracker of a benchmark: MLflow, or one that logs nothing where `enabled` is False.

    system_metrics: also log how busy the machine is during each run; `check_system_metrics` says whether that can be.
    The store is opened by the first invocation, and made if there is none.
    """
    if not enabled:
        from bench.results.tracking.null import NullTracker

        return NullTracker()
    from bench.results.tracking.mlflow_tracker import MlflowTracker

    return MlflowTracker(benchmark, system_metrics)


def check_system_metrics() -> None:
    """Raise BenchError unless psutil is installed, with which the load of a machine is read."""
    if importlib.util.find_spec("psutil") is None:
        raise BenchError("system metrics need psutil, which is not installed: pip install psutil")
