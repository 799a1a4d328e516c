"""What is logged to MLflow: one parent run a `bench run`, one child run a method and seed.

MLflow is the log of what happened; the truth that tables are made of is the record file. So nothing here may stop a
training run: the first thing that goes wrong with MLflow is said in one line on stderr, and the run goes on untracked.

    with open_tracker("demo").invocation("bench run demo", tags) as invocation:
        with invocation.run("mixste-s0", run_key=key, params=params, tags=tags) as run:
            run.metrics(epoch, {"train/loss": loss})

Only one process of a run may log: rank 0, and never a data-loading worker.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results.tracking.mlflow_store import (
    METRICS_A_CALL,
    NAME_LENGTH,
    PARAM_LENGTH,
    DatasetInput,
    Point,
    Store,
    store_uri,
)
from bench.system.errors import BenchError
from bench.system.stop import Stopped, stoppable

__all__ = [
    "DatasetInput", "Invocation", "Run", "Stopped", "Tracker", "check_system_metrics", "metric_name", "open_tracker",
    "stoppable",
]  # fmt: skip

SECONDS_BETWEEN_FLUSHES = 5.0


def metric_name(*parts: str) -> str:
    """Join parts to a name that MLflow accepts: `metric_name("test/mpjpe_mm", "walk dog")` is `test/mpjpe_mm/walk_dog`.

    Runs of anything but letters, digits and `_ - .` become an underscore. ValueError if nothing is left of a part, or
    the name is longer than 250 characters.
    """
    words = [re.sub(r"[^A-Za-z0-9_.-]+", "_", word) for part in parts for word in part.split("/")]
    name = "/".join(words)
    if not words or any(not word.strip("._") for word in words) or len(name) > NAME_LENGTH:
        raise ValueError(f"{'/'.join(parts)!r} cannot be the name of a metric")
    return name


def open_tracker(benchmark: str, *, enabled: bool = True, system_metrics: bool = False) -> Tracker:
    """The tracker of a benchmark, whose name is that of the MLflow experiment.

    system_metrics: also log how busy the machine is during each run; `check_system_metrics` says whether that can be.

    Makes the store if there is none, and ends as KILLED what a killed process of this machine left RUNNING. Raises
    nothing: where the store cannot be used the reason goes to stderr and nothing is logged, as with `enabled=False`.
    """
    store = Store(store_uri() if enabled else None)
    store.open(benchmark)
    return Tracker(store, system_metrics)


def check_system_metrics() -> None:
    """Raises BenchError unless what MLflow reads a machine's load with is installed."""
    if importlib.util.find_spec("psutil") is None:
        raise BenchError("system metrics need psutil, which is not installed: pip install psutil")


class Tracker:
    """One benchmark's log. `uri` is None when nothing is logged."""

    def __init__(self, store: Store, system_metrics: bool = False) -> None:
        self._store, self._system_metrics = store, system_metrics

    @property
    def uri(self) -> str | None:
        return self._store.uri if self._store.on else None

    @contextlib.contextmanager
    def invocation(self, name: str, tags: Mapping[str, str]) -> Iterator[Invocation]:
        """One `bench run`: the parent of its runs. Ends as `Invocation.run` does."""
        invocation = Invocation(self._store, self._system_metrics)
        with _ending(self._store, invocation):
            invocation.run_id = self._store.create(name, tags)
            yield invocation


class Invocation:
    """One `bench run`. `run_id` is None when nothing is logged."""

    def __init__(self, store: Store, system_metrics: bool = False) -> None:
        self._store, self._system_metrics = store, system_metrics
        self.run_id: str | None = None

    @contextlib.contextmanager
    def run(
        self,
        name: str,
        *,
        run_key: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        datasets: Sequence[DatasetInput] = (),
    ) -> Iterator[Run]:
        """One method with one seed.

        FINISHED when the block ends well, KILLED (may be resumed) on Ctrl-C and `Stopped`, FAILED on any other
        exception. If the last run with this key and these parameters did not finish, it goes on: same run id, now below
        this invocation, and steps it has already logged are not logged again. What may differ between two attempts
        (device, host) belongs in `tags`, which are overwritten.
        """
        run = Run(self._store)
        with _ending(self._store, run):
            run._begin(
                name,
                {key: str(value)[:PARAM_LENGTH] for key, value in params.items()},
                {**tags, "run_key": run_key, "mlflow.parentRunId": self.run_id or ""},
                datasets,
            )
            watched = self._store.watched(run.run_id) if self._system_metrics else contextlib.nullcontext()
            with watched:
                try:
                    yield run
                finally:
                    run.flush()

    def compare(self, run_ids: Sequence[str | None]) -> None:
        """Put a link to MLflow's comparison of these runs on the page of this invocation, if there are several."""
        tracked = [run_id for run_id in run_ids if run_id is not None]
        if len(tracked) > 1:
            self._store.link_comparison(self.run_id, tracked)


class Run:
    """One method with one seed. `run_id` is None when nothing is logged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.run_id: str | None = None
        self._resumed = False
        self._last_steps: dict[str, int] = {}  # of each metric, in the attempts before this one
        self._waiting: list[Point] = []
        self._sent = time.monotonic()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Note values of a step; they are sent in batches: at 1000, after 5 seconds, or by `flush`.

        ValueError, tracked or not, if one of them is not finite: MLflow would store infinity as 1.8e308.
        """
        numbers = {metric_name(name): float(value) for name, value in values.items()}
        for name, number in numbers.items():
            if not math.isfinite(number):
                raise ValueError(f"{name} is {number} at step {step}; only finite values are logged")
        now = time.time_ns() // 1_000_000
        self._waiting += [
            Point(name, value, now, step) for name, value in numbers.items() if step > self._last_step(name)
        ]
        if len(self._waiting) >= METRICS_A_CALL or time.monotonic() - self._sent > SECONDS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> None:
        """Send what `metrics` has noted; to be called at the end of an epoch."""
        while self._waiting:
            self._store.log_points(self.run_id, self._waiting[:METRICS_A_CALL])
            del self._waiting[:METRICS_A_CALL]  # only now: a point sent twice is stored once, a dropped one is lost
        self._sent = time.monotonic()

    def text(self, content: str, path: str) -> None:
        """Keep a text as an artifact; path: within the run, e.g. `config.yaml`."""
        self._store.keep("log_text", self.run_id, content, path)

    def json(self, content: Any, path: str) -> None:
        """Keep plain data as a JSON artifact, keys sorted. ValueError for NaN and infinity."""
        self.text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", path)

    def file(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a small file as an artifact, in a folder of the run."""
        self._store.keep("log_artifact", self.run_id, str(path), folder or None)

    def model(self, write: Callable[[Path], None]) -> None:
        """Keep a trained model, in MLflow's own place for models. write: fills a folder; not called if none is kept."""
        self._store.log_model(self.run_id, write)

    def _begin(self, name: str, params: dict[str, str], tags: dict[str, str], datasets: Sequence[DatasetInput]) -> None:
        earlier = self._store.unfinished(tags["run_key"], params)
        if earlier is None:
            self.run_id = self._store.create(name, tags)
        else:
            self.run_id, self._resumed = earlier.info.run_id, True
            self._store.resume(self.run_id, tags)
        self._store.log_params(self.run_id, params)
        if datasets and not (earlier and earlier.inputs.dataset_inputs):
            self._store.log_datasets(self.run_id, datasets)

    def _last_step(self, name: str) -> int:
        if not self._resumed:
            return -1
        if name not in self._last_steps:
            history = self._store.call("get_metric_history", self.run_id, name) or []
            self._last_steps[name] = max((point.step for point in history), default=-1)
        return self._last_steps[name]


@contextlib.contextmanager
def _ending(store: Store, entry: Invocation | Run) -> Iterator[None]:
    """End the entry's MLflow run by how the block ends."""
    status = "FINISHED"
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | Stopped):
            status = "KILLED"
        elif not (isinstance(error, SystemExit) and error.code in (0, None)):
            status = "FAILED"
        raise
    finally:
        store.end(entry.run_id, status)
