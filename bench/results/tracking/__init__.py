"""The log of runs, and the trackers that keep it.

    with open_tracker("demo").invocation("bench run demo", tags) as invocation:
        with invocation.run("mixste-s0", run_key=key, params=params, tags=tags) as run:
            run.metrics(epoch, {"train/loss": loss})

Tables are made from the record files; a log only shows what happened. `tracker` is the interface of all trackers;
`mlflow_*` keeps the log in MLflow, `null` keeps none.
"""

from __future__ import annotations

import importlib.util

from bench.results.tracking.tracker import DatasetInput, Invocation, LoggedRun, Tracker, TrainedModel
from bench.system.errors import BenchError

__all__ = [
    "DatasetInput",
    "Invocation",
    "LoggedRun",
    "Tracker",
    "TrainedModel",
    "check_system_metrics",
    "imports",
    "open_tracker",
]


def open_tracker(benchmark: str, *, enabled: bool = True, system_metrics: bool = False) -> Tracker:
    """The tracker of a benchmark: MLflow, or one that logs nothing if `enabled` is False.

    system_metrics: also log the load of the machine during each run; see `check_system_metrics`. The first invocation
    opens the store, and makes it if there is none.
    """
    if not enabled:
        from bench.results.tracking.null import NullTracker

        return NullTracker()
    from bench.results.tracking.mlflow_tracker import MlflowTracker

    return MlflowTracker(benchmark, system_metrics)


def imports() -> list[str]:
    """The modules that logging imports first: a process that starts others by forking imports them once for all."""
    from bench.results.tracking.mlflow_store import apply_settings

    apply_settings()
    return ["mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store"]


def check_system_metrics() -> None:
    """Raise BenchError unless psutil is installed, which reads the load of a machine."""
    if importlib.util.find_spec("psutil") is None:
        raise BenchError("system metrics need psutil, which is not installed: pip install psutil")
