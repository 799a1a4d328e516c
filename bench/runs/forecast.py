"""What `bench run` will do: data, methods, their size and cost, and the estimated time on this device."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from tabulate import tabulate

from bench.config.schema import Recipe
from bench.data.batch import Batch
from bench.data.pose_dataset import PoseDataset
from bench.data.split import Split
from bench.data.windows import scored_windows
from bench.method.base import Method, checked_loss, lifts_videos
from bench.method.cost import macs_per_frame, macs_per_video_frame, macs_text, training_macs
from bench.method.passes import windows_per_pass
from bench.method.registry import method_class
from bench.runs.plan import Plan, Run, StageRun
from bench.runs.work import expected_seconds
from bench.system.device import fills_cpu, threads_for
from bench.system.progress import duration
from bench.training.loop import epoch_windows, new_optimizer, resumable_epochs, training_windows

COLUMNS = ("run", "to do", "frames", "parameters", "MMACs/frame", "epochs", "steps/epoch", "weights", "time")

COUNTING = {
    "shared": "each counted once, root zeroed",
    "as-published": "counted for each method as its own code does",
}

# An estimate runs windows of about this many multiply-accumulates: a moment on one CPU core.
SAMPLE_MACS = 4e8
# If one window takes longer (in seconds), its time is estimated from multiply-accumulates instead of a run.
TOO_LONG = 1.0


@dataclass(frozen=True)
class Forecast:
    """What a plan will do, as text, and of the runs that are not finished, by key: the estimated seconds.

    alone: the keys of those that compute on all cores.
    """

    text: str
    seconds: Mapping[str, float]
    alone: frozenset[str]

    def __str__(self) -> str:
        return self.text


def forecast(plan: Plan, device: torch.device, jobs: int = 1) -> Forecast:
    """What is measured, then one line per run and per stage, with the time it will take. jobs: runs at a time."""
    benchmark, split = plan.benchmark, plan.split
    protocol = benchmark.protocol
    training, testing = split.training, split.testing
    counting = COUNTING[protocol.accounting] + (", averaged with the mirrored input" if protocol.flip_test else "")
    notes = []
    if protocol.test_videos not in (None, len(testing.sequences)):
        notes = [f"  note        the whole test set has {protocol.test_videos} videos: no table will show these runs"]
    held_out = f", {', '.join(protocol.validation_subjects)} held out" if protocol.validation_subjects else ""
    lines = [
        f"{benchmark.name}: {benchmark.title}",
        *_data(split),
        f"  train       {_amount(training)}{held_out}",
        f"  test        {_amount(testing)}, {counting}",
        f"  device      {device}{f', up to {jobs} runs at a time' if jobs > 1 else ''}",
        *notes,
        "",
    ]
    stopwatch = Stopwatch(device, len(training.skeleton))
    rows: list[dict[str, str]] = []
    expected: dict[str, float] = {}
    alone = set()
    for run in plan.runs:
        for row, seconds, parameters in _forecast(run, split, stopwatch):
            rows.append({column: row.get(column, "-") for column in COLUMNS})
            if not run.finished:
                expected[run.key] = expected.get(run.key, 0.0) + seconds
                if fills_cpu(parameters, device):
                    alone.add(run.key)
    lines.append(tabulate(rows, headers="keys", stralign="right", disable_numparse=True))
    if total := sum(expected.values()):
        whole = expected_seconds(((seconds, key in alone) for key, seconds in expected.items()), jobs)
        beside = f", {duration(total)} one after another" if jobs > 1 else ""
        lines.append(f"\nabout {duration(whole)} in all{beside}, estimated from a few steps")
    return Forecast("\n".join(lines), expected, frozenset(alone))


def _data(split: Split) -> list[str]:
    """One line per data set."""
    trained_on, tested_on = (
        f"  data        {part.name}, {part.keypoints} keypoints, {part.fps:g} fps"
        for part in (split.training, split.testing)
    )
    if not split.crosses:
        return [tested_on]
    joints = len(split.testing.skeleton)
    scored = joints if split.testing.scored is None else len(split.testing.scored)
    return [f"{trained_on}, to train on", f"{tested_on}, to test on: {scored} of {joints} joints are scored"]


def _forecast(run: Run, split: Split, stopwatch: Stopwatch) -> Iterator[tuple[dict[str, str], float, int]]:
    """A table row, its seconds and its parameters for each stage of a run, then for the run itself."""
    protocol, training, testing = run.benchmark.protocol, split.training, split.testing
    joints = len(training.skeleton)
    if rows := _from_record(run, joints):
        yield from ((row, 0.0, 0) for row in rows)
        return
    method = run.build(joints)
    for stage in run.stages:
        seconds = 0.0
        trained = stage.build(method)
        row = _training_row(stage, trained, stage.settings.recipe, training)
        if not run.finished and not stage.weights:
            seconds = _epochs_left(stage) * stopwatch.epoch(trained, stage.settings.recipe, training)
        state = "finished" if run.finished else stage.state
        row |= {"run": stage.name, "to do": state, "time": _time(state, seconds)}
        yield row, seconds, trained.parameter_count
    macs = macs_text(stopwatch.macs(method))
    row = {"frames": str(run.frames), "MMACs/frame": macs, "parameters": f"{method.parameter_count:,}"}
    to_train = method.trainable and not run.weights
    if to_train:
        row |= _training_row(run, method, run.settings.recipe, training)
    elif run.weights:
        row["weights"] = "published"
    seconds = 0.0
    if not (run.finished or run.predicted):
        seconds = stopwatch.testing(method, testing, protocol.flip_test)
        if to_train:
            epoch_seconds = stopwatch.epoch(method, run.settings.recipe, training)
            if run.settings.recipe.keep == "best-test":
                epoch_seconds += stopwatch.testing(method, testing, flip=False)
            elif split.validation is not None:
                epoch_seconds += stopwatch.testing(method, split.validation, flip=False)
            seconds += _epochs_left(run) * epoch_seconds
    row |= {"run": run.name, "to do": run.state, "time": _time(run.state, seconds)}
    yield row, seconds, method.parameter_count


def _from_record(run: Run, joints: int) -> list[dict[str, str]]:
    """The rows of a finished run, from its record: nothing is counted, and only a method with stages is built.

    Empty if it is not finished, or its record does not hold the windows of each training.
    """
    record = run.record
    if record is None or record.parameters is None:
        return []
    trained = not run.weights and method_class(run.registered).trainable
    courses = {stage.stage: record.training.get("stages", {}).get(stage.stage, {}) for stage in run.stages}
    if any("windows" not in course for course in (*courses.values(), *([record.training] if trained else []))):
        return []
    rows = []
    if run.stages:
        method = run.build(joints)
        for stage in run.stages:
            size, windows = stage.build(method).parameter_count, courses[stage.stage]["windows"]
            row = _course_row(size, windows, stage.settings.recipe)
            rows.append(row | {"run": stage.name, "to do": "finished", "time": "-"})
    row = {"frames": str(run.frames), "MMACs/frame": macs_text(record.macs_per_frame)}
    row |= {"parameters": f"{record.parameters:,}"}
    if trained:
        row |= _course_row(record.parameters, record.training["windows"], run.settings.recipe)
    elif run.weights:
        row["weights"] = "published"
    return [*rows, row | {"run": run.name, "to do": "finished", "time": "-"}]


def _training_row(work: Run | StageRun, method: Method, recipe: Recipe, training: PoseDataset) -> dict[str, str]:
    return _course_row(method.parameter_count, len(training_windows(training, method, recipe)), recipe)


def _course_row(parameters: int, windows: int, recipe: Recipe) -> dict[str, str]:
    """What is trained. windows: as in `Trained`, without mirrored ones."""
    return {
        "parameters": f"{parameters:,}",
        "epochs": str(recipe.epochs),
        "steps/epoch": f"{-(-epoch_windows(windows, recipe) // recipe.batch_windows):,}",
        "weights": recipe.keep,
    }


def _epochs_left(work: Run | StageRun) -> int:
    return max(work.settings.recipe.epochs - resumable_epochs(work.folder), 0)


def _time(state: str, seconds: float) -> str:
    return "-" if state == "finished" else f"~{duration(seconds)}"


def _amount(dataset: PoseDataset) -> str:
    frames, videos = int(dataset.lengths.sum()), len(dataset.sequences)
    valid = len(dataset.counted)
    subjects = ", ".join(dict.fromkeys(dataset.sequences["subject"]))
    return f"{subjects}: {videos:,} videos, {frames:,} frames" + (f", {valid:,} valid" if valid < frames else "")


class Stopwatch:
    """Estimates the seconds of training and testing on a device, from a few windows of made-up data."""

    def __init__(self, device: torch.device, joints: int) -> None:
        self._device = device
        self._joints = joints
        self._macs_per_second = 0.0
        self._macs: WeakKeyDictionary[Method, int | None] = WeakKeyDictionary()
        self._seconds_per_window: WeakKeyDictionary[Method, float] = WeakKeyDictionary()

    def epoch(self, method: Method, recipe: Recipe, training: PoseDataset) -> float:
        """Seconds of one training epoch."""
        windows = epoch_windows(len(training_windows(training, method, recipe)), recipe)
        return windows / recipe.batch_windows * self._step(method, recipe)

    def _step(self, method: Method, recipe: Recipe) -> float:
        """Seconds of one training step."""
        macs = training_macs(method, self._joints)
        windows = self._sample(macs, recipe.batch_windows)
        if windows == 0:
            return recipe.batch_windows * macs / self._rate()
        method = copy.deepcopy(method).train().to(self._device)
        optimizer = new_optimizer(method, recipe)
        shape = (max(windows, 2), method.window.frames, self._joints)
        batch = Batch(torch.zeros(*shape, 2), torch.ones(*shape, 3)).to(self._device)

        def once() -> None:
            optimizer.zero_grad(set_to_none=True)
            checked_loss(method, batch, torch.Generator().manual_seed(0))["total"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        with threads_for(method.parameter_count, self._device):
            return self._time(once) * recipe.batch_windows / len(batch)

    def testing(self, method: Method, dataset: PoseDataset, flip: bool) -> float:
        """Seconds of lifting a data set."""
        if method not in self._seconds_per_window:
            self._seconds_per_window[method] = self._lifting(method)
        return len(scored_windows(dataset, method.window)) * (2 if flip else 1) * self._seconds_per_window[method]

    def _lifting(self, method: Method) -> float:
        """Seconds per window; of a method that lifts whole videos, per frame."""
        counted = self.macs(method)
        macs = (counted or 0) * method.window.answers
        most = windows_per_pass(method.window, self._joints, self._device)
        windows = self._sample(macs, most) if counted is not None else 1
        if windows == 0:
            seconds = macs / self._rate()
        else:
            copied = copy.deepcopy(method).eval().to(self._device)
            keypoints_2d = torch.zeros(windows, method.window.frames, self._joints, 2, device=self._device)
            with threads_for(method.parameter_count, self._device), torch.inference_mode():
                seconds = self._time(lambda: copied.lift(keypoints_2d, generator=torch.Generator().manual_seed(0)))
            seconds /= windows
        if macs and lifts_videos(method) and (of_a_video := macs_per_video_frame(method, self._joints)):
            return seconds * of_a_video / macs
        return seconds

    def macs(self, method: Method) -> int | None:
        """`macs_per_frame`, counted once."""
        if method not in self._macs:
            self._macs[method] = macs_per_frame(method, self._joints)
        return self._macs[method]

    def _rate(self) -> float:
        """Multiply-accumulates per second in matrix products of a usual size, measured once."""
        if not self._macs_per_second:
            tokens, weights = torch.ones(4096, 512, device=self._device), torch.ones(512, 1024, device=self._device)
            self._macs_per_second = tokens.numel() * weights.shape[1] / self._time(lambda: tokens @ weights)
        return self._macs_per_second

    def _sample(self, macs: float, most: int) -> int:
        """How many windows to run: none if a single one takes too long."""
        if macs > TOO_LONG * self._rate():
            return 0
        return int(min(max(1, SAMPLE_MACS // max(macs, 1)), max(most, 1)))

    def _time(self, work: Callable[[], object]) -> float:
        """Seconds of the faster of two calls, after one to warm up; the random state is restored."""
        seconds = []
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            for _ in range(3):
                self._wait()
                started = time.perf_counter()
                work()
                self._wait()
                seconds.append(time.perf_counter() - started)
        return min(seconds[1:])

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
