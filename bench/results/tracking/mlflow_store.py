"""The MLflow store of a project: where it is, how it is opened safely, and the guarded way to write to it.

By default it is an SQLite file in the results folder, with the artifacts beside it. These traps of MLflow 3, all
measured, shape this file: two processes that open a new SQLite store at once destroy it; artifact folders are absolute
and fixed when an experiment is made; a run whose process is killed stays RUNNING forever; an absent server blocks for
minutes; MLflow's own digest of a data set does not see every change.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit
from urllib.request import url2pathname

from filelock import FileLock

from bench.results.tracking import processes
from bench.results.tracking.tracker import DatasetInput
from bench.system import paths
from bench.system.progress import say

# The most that MLflow takes in one call, and the longest names and values that it keeps.
METRICS_PER_CALL, PARAMS_PER_CALL, TAGS_PER_CALL = 1000, 100, 100
NAME_LENGTH, PARAM_LENGTH, TAG_LENGTH, DATASET_TAG_LENGTH = 250, 6000, 8000, 500

# Environment variables that MLflow reads when it is imported; what the user has set stays.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # an absent server costs seconds, not the default's minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
NETWORK_DISKS = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p", "fuse.")


class Point(NamedTuple):
    """One value of a metric, as MLflow's Metric takes it."""

    key: str
    value: float
    timestamp: int  # milliseconds
    step: int


def store_uri() -> str:
    """Where runs are logged: $MLFLOW_TRACKING_URI, else one SQLite file in the results folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(paths.results() / 'mlflow' / 'mlflow.db').resolve()}"


def sqlite_file(uri: str) -> Path | None:
    """The file behind an SQLite URI; None for a server or another database."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def without_password(text: str) -> str:
    """A text with user and password in a URI hidden."""
    return re.sub(r"//[^@/\s]*@", "//***@", text)


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def artifact_folder(uri: str) -> Path:
    """Where the artifacts of a store without a server are kept: beside its SQLite file."""
    database = sqlite_file(uri)
    return (database.parent if database else paths.results().resolve() / "mlflow") / "artifacts"


class Store:
    """An MLflow experiment. No method raises because MLflow fails: `on` is False from the first failure.

    Every call names its run: MLflow's fluent functions start a run of their own where none is active.
    """

    def __init__(self, uri: str, name: str) -> None:
        self.uri = uri
        self.on = True
        self._name = name
        self._keeps_artifacts = True
        self._client: Any = None
        self._experiment = ""

    def open(self) -> None:
        """Make or find the store and the experiment; set runs whose process on this machine is gone to KILLED."""
        if self._client is not None or not self.on:
            return
        database = sqlite_file(self.uri)
        with self._guarded():
            if database:
                database.parent.mkdir(parents=True, exist_ok=True)
            # Processes that migrate a new SQLite file at the same time ruin it for good, so they take turns.
            with FileLock(f"{database}.lock", timeout=300) if database else contextlib.nullcontext():
                self._client = _client(self.uri)
                if database and not _on_network_disk(database):
                    with contextlib.closing(sqlite3.connect(database)) as connection:
                        connection.execute("pragma journal_mode=wal")  # stays in the file; writers wait half as long
                self._open_experiment(self._name)
                self._end_dead_runs()

    def end_dead_runs(self) -> None:
        """Set the runs to KILLED whose process on this machine is gone."""
        with self._guarded():
            if self.on:
                self._end_dead_runs()

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of MLflow's client. None if tracking is off, or goes off because the call fails."""
        with self._guarded():
            return getattr(self._client, method)(*arguments, **named) if self.on else None

    def create(self, name: str, tags: Mapping[str, str]) -> str | None:
        """Start a run. It gets its tags at once, so that even a run that is killed immediately names its process."""
        run = self.call("create_run", self._experiment, tags=_owned(tags), run_name=name)
        return run.info.run_id if run else None

    def unfinished(self, run_key: str, params: Mapping[str, str]) -> Any:
        """The last run with this key, if it did not finish and has no other parameters."""
        query, newest = f"tags.run_key = '{run_key}'", ["attributes.start_time DESC"]
        for run in self.call("search_runs", [self._experiment], query, max_results=1, order_by=newest) or ():
            if run.info.status in ("KILLED", "FAILED") and run.data.params.items() <= params.items():
                return run
        return None

    def resume(self, run_id: str | None, tags: Mapping[str, str]) -> None:
        """Set a run to RUNNING again, owned by this process."""
        self._log_batches(run_id, "tags", "RunTag", list(_owned(tags).items()), TAGS_PER_CALL)
        self.call("update_run", run_id, status="RUNNING")

    def log_params(self, run_id: str | None, params: Mapping[str, str]) -> None:
        self._log_batches(run_id, "params", "Param", list(params.items()), PARAMS_PER_CALL)

    def log_points(self, run_id: str | None, points: Sequence[Point]) -> None:
        self._log_batches(run_id, "metrics", "Metric", points, METRICS_PER_CALL)

    def log_datasets(self, run_id: str | None, datasets: Sequence[DatasetInput]) -> None:
        """Log the data sets of a run. One that is read twice is logged once with both contexts: MLflow drops one."""
        contexts: dict[tuple[str, str], list[str]] = {}
        for dataset in datasets:
            contexts.setdefault((dataset.name, dataset.digest), []).append(dataset.context)
        inputs = []
        for dataset in datasets:
            if context := contexts.pop((dataset.name, dataset.digest), None):
                inputs.append((dataset, ", ".join(dict.fromkeys(context))))
        with self._guarded():
            if self.on:
                self._client.log_inputs(run_id, [_dataset_input(*one) for one in inputs])

    def keep(self, method: str, run_id: str | None, *arguments: Any) -> None:
        """Log an artifact. A failure turns off later artifacts, and nothing else."""
        if not (self.on and self._keeps_artifacts):
            return
        try:
            getattr(self._client, method)(run_id, *arguments)
        except Exception as error:
            self._keeps_artifacts = False
            self._say("tracking without artifacts", error)

    def link_comparison(self, run_id: str | None, compared: Sequence[str]) -> None:
        """Describe a run by a link to the page that compares others."""
        query = {"runs": json.dumps(compared), "experiments": json.dumps([self._experiment])}
        link = f"[Compare the {len(compared)} runs of this call](#/compare-runs?{urlencode(query)})"
        self.call("set_tag", run_id, "mlflow.note.content", link)

    def log_model(self, run_id: str | None, write: Callable[[Path], None]) -> None:
        """Log what `write` puts into a folder as the model of a run."""
        if not (self.on and self._keeps_artifacts):
            return
        model = None
        try:
            from mlflow.entities import LoggedModelOutput

            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder))
                model = self._client.create_logged_model(self._experiment, name="model", source_run_id=run_id)
                self._client.log_model_artifacts(model.model_id, folder)
            self._client.finalize_logged_model(model.model_id, "READY")
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        except Exception as error:
            self._say("the trained model is not logged", error)
            if model is not None:
                with contextlib.suppress(Exception):
                    self._client.finalize_logged_model(model.model_id, "FAILED")

    @contextlib.contextmanager
    def watched(self, run_id: str | None) -> Iterator[None]:
        """Log the load of this machine to a run, every ten seconds."""
        monitor = None
        if self.on:
            try:
                from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

                monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=self.uri)
                monitor.start()
            except Exception as error:
                self._say("the load of the machine is not logged", error)
        try:
            yield
        finally:
            if monitor is not None:
                with contextlib.suppress(Exception):
                    monitor.finish()

    def end(self, run_id: str | None, status: str) -> None:
        """End a run. If logging has failed it is KILLED: now if MLflow can be reached, else at the next opening."""
        if run_id is None:
            return
        self.call("set_terminated", run_id, status)
        if not self.on:
            with contextlib.suppress(Exception):
                self._client.set_terminated(run_id, "KILLED")

    def _open_experiment(self, name: str) -> None:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = None  # a server's own choice
            if not is_server(self.uri):
                folder = artifact_folder(self.uri) / name
                folder.mkdir(parents=True, exist_ok=True)
                location = folder.as_uri()
            try:
                self._client.create_experiment(name, location)
            except Exception:  # unless another client of the same server was faster
                if self._client.get_experiment_by_name(name) is None:
                    raise
            found = self._client.get_experiment_by_name(name)
        if found.lifecycle_stage != "active":
            raise RuntimeError(
                f"the experiment {name} was deleted; to have it back: "
                f"MLFLOW_TRACKING_URI={self.uri} mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        self._experiment = found.experiment_id
        # The artifact folder was fixed with the experiment; MLflow would recreate a moved one in the old place.
        location = urlsplit(found.artifact_location)
        folder = Path(url2pathname(location.path))
        if location.scheme == "file" and not folder.is_dir():
            self._keeps_artifacts = False
            gone = f"their folder {folder} has moved or is gone; make it again to keep them"
            self._say("tracking without artifacts", FileNotFoundError(gone))

    def _end_dead_runs(self) -> None:
        for run in self._client.search_runs([self._experiment], "attributes.status = 'RUNNING'"):
            if processes.is_dead(run.data.tags.get("host_pid", "")):
                self._client.set_terminated(run.info.run_id, "KILLED")

    def _log_batches(
        self, run_id: str | None, kind: str, entity: str, rows: Sequence[Sequence[Any]], size: int
    ) -> None:
        for start in range(0, len(rows), size):
            with self._guarded():
                if self.on:
                    import mlflow.entities

                    entities = [getattr(mlflow.entities, entity)(*row) for row in rows[start : start + size]]
                    self._client.log_batch(run_id, synchronous=True, **{kind: entities})

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn tracking off, and say why, if the block raises."""
        try:
            yield
        except Exception as error:
            self.on = False
            self._say("tracking off", error)

    def _say(self, outcome: str, error: Exception) -> None:
        """Report in one line what went wrong, and its consequence."""
        reason = " ".join(str(error).split()) or type(error).__name__
        if "out-of-date database schema" in reason:
            reason = f"the store was made by another version of MLflow; back it up, then: mlflow db upgrade {self.uri}"
        elif "Max retries exceeded" in reason:
            reason = "the server does not answer"
        elif len(reason) > 300:
            reason = f"{reason[:300]}..."
        say(without_password(f"{outcome}: {reason} (store: {self.uri}; records are still written)"))


def _dataset_input(dataset: DatasetInput, context: str) -> Any:
    from mlflow.entities import Dataset, InputTag
    from mlflow.entities import DatasetInput as Input

    kind, source = ("http", "url") if dataset.source.startswith("http") else ("local", "description")
    tags = {"mlflow.data.context": context, **dataset.tags}
    return Input(
        Dataset(dataset.name, dataset.digest, kind, json.dumps({source: dataset.source})),
        [InputTag(key, str(value)[:DATASET_TAG_LENGTH]) for key, value in tags.items()],
    )


def apply_settings() -> None:
    """Set what MLflow reads from the environment when it is imported, here or in a process started from here."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def _client(uri: str) -> Any:
    apply_settings()
    import mlflow

    for logger in ("mlflow", "alembic", "urllib3"):  # the store reports failures, once and without a traceback
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    return mlflow.MlflowClient(uri)  # an SQLite store is made or checked here


def _owned(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a run of this process, cut to the length that MLflow takes."""
    return {key: str(value)[:TAG_LENGTH] for key, value in {**tags, "host_pid": processes.this()}.items()}


def _on_network_disk(path: Path) -> bool:
    """Whether a file lies on a network disk, where SQLite's write-ahead log does not work. Linux only, else False."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return False
    around = [(len(place), kind) for _, place, kind, *_ in mounts if path.is_relative_to(place)]
    return bool(around) and max(around)[1].startswith(NETWORK_DISKS)
