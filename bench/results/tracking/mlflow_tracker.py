"""The tracker that logs to MLflow: one parent run per call of a command, one child run per method and seed.

The first failure of MLflow is reported in one line, and the run continues untracked; an artifact or a model that cannot
be kept affects nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.results.tracking import mlflow_model
from bench.results.tracking.mlflow_store import (
    METRICS_PER_CALL,
    NAME_LENGTH,
    PARAM_LENGTH,
    Point,
    Store,
    sqlite_file,
    store_uri,
    without_password,
)
from bench.results.tracking.tracker import DatasetInput, TrainedModel
from bench.system import paths
from bench.system.progress import say
from bench.system.stop import Stopped

SECONDS_BETWEEN_FLUSHES = 5.0


class MlflowTracker:
    """The log of one benchmark, whose name is that of the MLflow experiment."""

    def __init__(self, benchmark: str, system_metrics: bool = False) -> None:
        self._store, self._system_metrics = Store(store_uri(), benchmark), system_metrics

    @property
    def where(self) -> str | None:
        if not self._store.on:
            return None
        database = sqlite_file(self._store.uri)
        return f"{paths.shown(database)}  (make ui shows it)" if database else without_password(self._store.uri)

    def open(self) -> None:
        """Make or find the store; set to KILLED the runs that a killed process of this machine left RUNNING."""
        self._store.open()

    @contextlib.contextmanager
    def invocation(self, name: str, tags: Mapping[str, str]) -> Iterator[MlflowInvocation]:
        self.open()
        invocation = MlflowInvocation(self._store, self._system_metrics)
        with _ending(self._store, invocation):
            invocation.run_id = self._store.create(name, tags)
            yield invocation

    @contextlib.contextmanager
    def joined(self, parent: str | None) -> Iterator[MlflowInvocation]:
        self.open()
        invocation = MlflowInvocation(self._store, self._system_metrics)
        invocation.run_id = parent
        yield invocation


class MlflowInvocation:
    """One call of a command: a parent run."""

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
    ) -> Iterator[MlflowRun]:
        """FINISHED if the block ends without an error, KILLED (may be resumed) on Ctrl-C and `Stopped`, else FAILED."""
        run = MlflowRun(self._store)
        with _ending(self._store, run):
            run._begin(
                name,
                {mlflow_name(key): str(value)[:PARAM_LENGTH] for key, value in params.items()},
                {**tags, "run_key": run_key, "mlflow.parentRunId": self.run_id or ""},
                datasets,
            )
            with self._store.watched(run.run_id) if self._system_metrics else contextlib.nullcontext():
                try:
                    yield run
                finally:
                    run.flush()

    def compare(self, run_ids: Sequence[str | None]) -> None:
        """Put a link to MLflow's comparison of these runs on the page of this invocation."""
        tracked = [run_id for run_id in run_ids if run_id is not None]
        if len(tracked) > 1:
            self._store.link_comparison(self.run_id, tracked)

    def end_dead_runs(self) -> None:
        self._store.end_dead_runs()


class MlflowRun:
    """One method with one seed: a child run."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.run_id: str | None = None
        self._resumed = False
        self._last_steps: dict[str, int] = {}  # of each metric, in the attempts before this one
        self._said: set[str] = set()  # metrics of which a value was left out
        self._waiting: list[Point] = []
        self._sent = time.monotonic()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Values are sent in batches: at 1000, after 5 seconds, or by `flush`.

        MLflow would keep infinity as 1.8e308, so values that are not finite are left out of the log.
        """
        now = time.time_ns() // 1_000_000
        for name, value in values.items():
            if not math.isfinite(value):
                if name not in self._said:
                    self._said.add(name)
                    say(f"{name} is {value} at step {step}: the log leaves out values that are not finite")
            elif step > self._last_step(key := mlflow_name(name)):
                self._waiting.append(Point(key, float(value), now, step))
        if len(self._waiting) >= METRICS_PER_CALL or time.monotonic() - self._sent > SECONDS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> None:
        while self._waiting:
            self._store.log_points(self.run_id, self._waiting[:METRICS_PER_CALL])
            del self._waiting[:METRICS_PER_CALL]  # only now: a point sent twice is stored once, a dropped one is lost
        self._sent = time.monotonic()

    def text(self, content: str, path: str) -> None:
        self._store.keep("log_text", self.run_id, content, path)

    def json(self, content: Any, path: str) -> None:
        try:
            text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            say(f"{path} is not in the log: {error}")
            return
        self.text(text + "\n", path)

    def file(self, path: Path, folder: str = "") -> None:
        self._store.keep("log_artifact", self.run_id, str(path), folder or None)

    def model(self, model: TrainedModel) -> None:
        self._store.log_model(self.run_id, partial(mlflow_model.write, model))

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


def mlflow_name(name: str) -> str:
    """The name of a metric or parameter as MLflow accepts it; two names never become one.

    Letters and digits of any script, spaces and `_ - . /` stay as they are. Any other character becomes its code, "@"
    `_x40_`, and so does a slash or dot that would make a path ambiguous. A name of more than 250 characters
    ends in a digest of all of it.
    """
    accepted = _REFUSED.sub(lambda found: f"_x{ord(found[0]):x}_", name)
    if len(accepted) <= NAME_LENGTH:
        return accepted
    digest = f"_x{hashlib.sha256(accepted.encode()).hexdigest()[:16]}_"
    return accepted[: NAME_LENGTH - len(digest)] + digest


# What MLflow refuses (a colon on Windows only); an underscore that would read as the beginning of such a number; and
# slashes and dots that do not separate: "/a", "a//b", "a/", "./a", "a/../b".
_REFUSED = re.compile(r"[^\w\-./ ]|_(?=x[0-9a-f])|(?:^|(?<=/))[./]|/\Z")


@contextlib.contextmanager
def _ending(store: Store, entry: MlflowInvocation | MlflowRun) -> Iterator[None]:
    """End the MLflow run of an entry, with a status that shows how the block ended."""
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
