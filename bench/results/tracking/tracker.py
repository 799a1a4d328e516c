"""The interface of a tracker.

A tracker never stops a training: nothing here raises because logging fails. One line on standard error reports a
failure, and the run continues. Another tracker is a class with these methods. Only one process of a run may log: rank
0, and never a data-loading worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol


class Tracker(Protocol):
    """The log of one benchmark."""

    @property
    def where(self) -> str | None:
        """Where the log is, for messages; None if nothing is logged."""

    def invocation(self, name: str, tags: Mapping[str, str]) -> AbstractContextManager[Invocation]:
        """Open one call of a command, the parent of its runs. Its status shows how the block ended, as for a run."""

    def joined(self, parent: str | None) -> AbstractContextManager[Invocation]:
        """The call of a command that another process has opened, for runs of this process; it is not ended here.

        parent: its `run_id`.
        """


class Invocation(Protocol):
    """One call of a command."""

    @property
    def run_id(self) -> str | None:
        """Its identity in the log; None if nothing is logged."""

    def run(
        self,
        name: str,
        *,
        run_key: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        datasets: Sequence[DatasetInput] = (),
    ) -> AbstractContextManager[LoggedRun]:
        """Open a run: one method with one seed.

        Its status shows how the block ended: without an error, stopped and to be resumed (Ctrl-C,
        `bench.system.stop.Stopped`), or by another exception. If the last run with this key and
        these parameters did not finish, it is resumed below this invocation, and steps that it has logged are not
        logged again. What may differ between two attempts (device, host) belongs in `tags`, which are overwritten.
        """

    def compare(self, run_ids: Sequence[str | None]) -> None:
        """Make it easy to compare these runs, if there are several."""

    def end_dead_runs(self) -> None:
        """End the runs whose process on this machine is gone; they may be resumed."""


class LoggedRun(Protocol):
    """One method with one seed."""

    @property
    def run_id(self) -> str | None:
        """Its identity in the log; None if nothing is logged."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step. A slash in a name groups; two names are never logged as one.

        A value that is not finite is left out, with one message per name.
        """

    def flush(self) -> None:
        """Send what `metrics` has collected; to be called at the end of an epoch."""

    def text(self, content: str, path: str) -> None:
        """Keep a text as an artifact; path: within the run, such as `config.yaml`."""

    def json(self, content: Any, path: str) -> None:
        """Keep plain data as a JSON artifact, its keys sorted."""

    def file(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a small file as an artifact, in a folder of the run."""

    def model(self, model: TrainedModel) -> None:
        """Keep a trained model where the tracker has a place for models."""


@dataclass(frozen=True)
class DatasetInput:
    """A data set that a run reads. No array is loaded for it.

    digest: "sha256:" and the first 16 hex digits; source: a URL or a description; tags: such as the full SHA-256 of
    each file.
    """

    name: str
    digest: str
    source: str
    context: Literal["train", "test"]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedModel:
    """A trained method as a tracker keeps it: from (batch, frames, joints, 2) to (batch, answered, joints, 3).

    joints: their names, in order; frames, answered: of the input and of the output; write_weights: writes the file that
    `bench.logged_model.load_method` reads, and is called only if the model is kept.
    """

    method: str
    joints: tuple[str, ...]
    frames: int
    answered: int
    write_weights: Callable[[Path], None]
