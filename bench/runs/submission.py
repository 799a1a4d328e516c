"""Score external results on the test set of a benchmark: a file of predictions, or a model in a file.

They are scored like the methods of the suite and get a record. The key of a submission is a hash of its file, window,
protocol and data; a submission that has a record is not scored again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.config.schema import NAME, Benchmark, Protocol, identity, stated
from bench.data import dataset_named
from bench.data.batch import Window
from bench.data.files import archive
from bench.data.pose_dataset import PoseDataset
from bench.data.split import load_testing
from bench.evaluation import plausibility, predictions_file
from bench.evaluation.predictions import Predictions, predict
from bench.evaluation.scores import Scores
from bench.evaluation.scoring import score
from bench.method import blackbox
from bench.results import records, tracking
from bench.results.records import Record
from bench.runs.log import inputs, log_all, log_outcome, log_picture, tags
from bench.runs.record import measured, origin
from bench.system import paths
from bench.system.device import choose_device, threads_for
from bench.system.errors import BenchError, missing_file
from bench.system.provenance import provenance
from bench.system.stop import stoppable

SOURCES: Mapping[blackbox.Kind, str] = {"onnx": "an ONNX model", "torchscript": "a TorchScript model"}


@dataclass(frozen=True)
class Submission:
    """An external result, with its name in the table (`method`)."""

    benchmark: Benchmark
    method: str
    source: str  # predictions, an ONNX model, a TorchScript model
    file: Path
    digests: Mapping[str, str]  # SHA-256 of the file, and of the one beside it that holds its weights
    data: str  # fingerprint
    window: Window | None = None  # of a model
    seed: int = 0

    @property
    def key(self) -> str:
        """Identity of what is scored; its name is not part of it."""
        window = [self.window.frames, self.window.targets, self.window.step] if self.window else None
        return _key(self.source, self.digests, window, self.benchmark.protocol, self.data)

    @property
    def config_hash(self) -> str:
        return identity({"protocol": self.benchmark.protocol.model_dump(mode="json")})

    @property
    def name(self) -> str:
        return f"{self.method}-s{self.seed}-{self.key[:8]}"

    @property
    def folder(self) -> Path:
        """Files made for the log; git-ignored."""
        return paths.cache() / "runs" / self.benchmark.name / self.name

    @property
    def outcome_folder(self) -> Path:
        return self.folder

    @property
    def record_file(self) -> Path:
        return paths.records() / self.benchmark.name / f"{self.name}.json"

    @property
    def about(self) -> dict[str, Any]:
        """Its description in the record."""
        window = {"targets": self.window.targets, "step": self.window.step} if self.window else {}
        return {"scored_from": self.source, "file": self.file.name, **self.digests, **window}


@dataclass(frozen=True)
class Scored:
    """A submission and its record. tracked_in: where the log is; None if nothing was logged now."""

    submission: Submission
    record: Record
    tracked_in: str | None = None

    @property
    def headline(self) -> str:
        """What was scored, and on what."""
        return _headline(self.submission, self.record)


def score_predictions(
    benchmark: Benchmark,
    file: Path,
    name: str,
    *,
    data: str | Path | None = None,
    record: bool = True,
    track: bool = True,
) -> Scored:
    """Score a file of predictions (`bench.evaluation.predictions_file`) and return it with its record.

    name: in the table. data: as `load_dataset`. record: write a record and, if `track`, log to MLflow.
    Raises BenchError for a name that cannot be used and for a file that does not hold the poses of the test set.
    """
    _check(benchmark, name)
    digests = _digests(file)
    testing = load_testing(benchmark.protocol, data)
    submission = Submission(benchmark, name, "predictions", file, digests, testing.fingerprint)
    return _score(submission, testing, lambda: predictions_file.read(file, testing), record, track)


def score_model(
    benchmark: Benchmark,
    file: Path,
    kind: blackbox.Kind,
    name: str,
    *,
    frames: int | None = None,
    targets: blackbox.Targets | None = None,
    step: int = 1,
    device: str = "cpu",
    data: str | Path | None = None,
    record: bool = True,
    track: bool = True,
) -> Scored:
    """Lift the test set with the model in a file (`bench.method.blackbox`), score it, and return it with its record.

    It gets the same windows as a method of the suite; its prediction for the mirrored input is averaged in if the
    protocol says so. frames, targets, step, device: as `bench.method.blackbox.load`; the rest as `score_predictions`.
    """
    _check(benchmark, name)
    digests, where = _digests(file), choose_device(device)
    joints = len(dataset_named(benchmark.protocol.trained_on.dataset).skeleton)
    model = blackbox.load(file, kind, joints, frames=frames, targets=targets, step=step, device=where)
    testing = load_testing(benchmark.protocol, data)
    submission = Submission(benchmark, name, SOURCES[kind], file, digests, testing.fingerprint, window=model.window)

    def lift() -> Predictions:
        with threads_for(model.parameter_count, where):
            return predict(model, testing, flip=benchmark.protocol.flip_test, device=where, label=submission.name)

    return _score(submission, testing, lift, record, track)


def key_of_record(record: Record) -> str:
    """The key of a submission, computed from its record."""
    about, window = record.training, None
    if record.receptive_field is not None:
        window = [record.receptive_field, about.get("targets", "all"), about.get("step", 1)]
    digests: dict[str, str] = {name: about[name] for name in ("sha256", "data_sha256") if name in about}
    protocol = Protocol.model_validate(record.protocol)
    return _key(about["scored_from"], digests, window, protocol, record.provenance.data_fingerprint)


def _key(
    source: str, digests: Mapping[str, str], window: Sequence[int | str] | None, protocol: Protocol, data: str
) -> str:
    scored = {"scored": source, **digests, "window": window and list(window)}
    return identity({**scored, "protocol": stated(protocol), "data": data})


def _check(benchmark: Benchmark, name: str) -> None:
    """Raise BenchError for a name that cannot be used, or an accounting that depends on the method."""
    if benchmark.protocol.accounting != "shared":
        raise BenchError(
            f"{benchmark.name} scores each method by its own published rules; external results need accounting: shared"
        )
    if not re.fullmatch(NAME, name) or name.endswith("\n"):
        raise BenchError(
            f"--name {name!r} is not valid: use letters, digits and underscores, and within it dots and dashes"
        )
    if name in benchmark.methods:
        raise BenchError(f"--name {name!r} is a method of {benchmark.name}, which is trained; take another name")


def _digests(file: Path) -> dict[str, str]:
    """SHA-256 of the file, and of FILE.data beside it, where big ONNX models keep their weights."""
    if not file.is_file():
        raise missing_file(paths.shown(file))
    digests, weights = {"sha256": archive.file_digest(file)}, file.with_name(f"{file.name}.data")
    if file.suffix == ".onnx" and weights.is_file():
        digests["data_sha256"] = archive.file_digest(weights)
    return digests


def _score(
    submission: Submission,
    testing: PoseDataset,
    predictions_of: Callable[[], Predictions],
    record: bool,
    track: bool,
) -> Scored:
    """Score a submission unless it has a record."""
    tracker = tracking.open_tracker(submission.benchmark.name, enabled=record and track)
    if submission.record_file.is_file() and not (done := records.read(submission.record_file)).lacks_blocks:
        return Scored(submission, done, tracker.where)
    benchmark, made_with = submission.benchmark, provenance()
    predictions = predictions_of()
    plausibility.check(predictions, testing, paths.shown(submission.file))
    scores = score(predictions, testing, benchmark.protocol.averaging)
    about = tags(made_with, testing)
    with (
        stoppable(),
        tracker.invocation(f"bench score {benchmark.name}", about) as invocation,
        invocation.run(
            submission.name,
            run_key=submission.key,
            params=_parameters(submission),
            tags=about | {"method": submission.method, "config_sha256": submission.config_hash},
            datasets=inputs(benchmark.protocol, testing),
        ) as log,
    ):
        done = _record(submission, scores, testing, made_with, log.run_id)
        if record:
            records.write(done)
            picture = partial(log_picture, log, submission, scores, predictions, testing)
            numbers = partial(log_outcome, log, submission, done, scores)
            log_all(submission.name, {"its numbers and tables": numbers, "the picture of the median frame": picture})
    done = Record.model_validate_json(records.text(done))  # as when it is read from its file
    return Scored(submission, done, tracker.where)


def _record(
    submission: Submission, scores: Scores, testing: PoseDataset, made_with: dict[str, Any], mlflow_run_id: str | None
) -> Record:
    protocol = submission.benchmark.protocol
    return Record(
        schema=records.SCHEMA,
        run_key=submission.key,
        benchmark=submission.benchmark.name,
        method=submission.method,
        registered=None,
        seed=submission.seed,
        accounting=protocol.accounting,
        data=records.Data.of(protocol),
        protocol=protocol.model_dump(mode="json"),
        receptive_field=submission.window.frames if submission.window else None,
        **measured(scores),
        parameters=None,
        macs_per_frame=None,
        training=submission.about,
        provenance=origin(testing, made_with, submission.config_hash, mlflow_run_id),
    )


def _parameters(submission: Submission) -> dict[str, object]:
    """The parameters in the log: what was scored, and the protocol."""
    protocol = submission.benchmark.protocol.model_dump(mode="json")
    shown = {
        f"protocol.{key}": ",".join(value) if isinstance(value, list) else value for key, value in protocol.items()
    }
    return {"method": submission.method, "seed": submission.seed, **submission.about, **shown}


def _headline(submission: Submission, done: Record) -> str:
    """What was scored, and on what."""
    protocol, window = submission.benchmark.protocol, submission.window
    lines = [
        f"{submission.benchmark.name}: {submission.benchmark.title}",
        f"  scored      {submission.source} in {submission.file.name}, SHA-256 {submission.digests['sha256'][:16]}...",
        f"  test        {', '.join(protocol.test_subjects)}: {done.sequences} videos, {done.frames:,} frames, "
        "each counted once, root zeroed",
    ]
    if window:
        answers = {"all": "all of them", "centre": "the centre one", "last": "the last one"}[window.targets]
        apart = f", every {window.step} apart" if window.step > 1 else ""
        mirrored = ", averaged with the mirrored input" if protocol.flip_test else ""
        lines.insert(2, f"  window      {window.frames} frames{apart}, it answers for {answers}{mirrored}")
    raw, zeroed = (done.metrics[name].value for name in ("mpjpe_raw_root", "mpjpe"))
    if raw - zeroed > 0.05:  # what a table shows
        lines.append(
            f"  root        not at zero as predicted: MPJPE would be {raw:.1f} mm with it, {zeroed:.1f} without"
        )
    return "\n".join(lines)
