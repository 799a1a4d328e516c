"""The tracker that logs nothing: `--no-track`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.results.tracking.tracker import DatasetInput, TrainedModel


class NullRun:
    """A run that is not logged."""

    run_id: str | None = None

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def flush(self) -> None:
        pass

    def text(self, content: str, path: str) -> None:
        pass

    def json(self, content: Any, path: str) -> None:
        pass

    def file(self, path: Path, folder: str = "") -> None:
        pass

    def model(self, model: TrainedModel) -> None:
        pass


class NullInvocation:
    """A call of a command that is not logged."""

    run_id: str | None = None

    @contextmanager
    def run(
        self,
        name: str,
        *,
        run_key: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        datasets: Sequence[DatasetInput] = (),
    ) -> Iterator[NullRun]:
        yield NullRun()

    def compare(self, run_ids: Sequence[str | None]) -> None:
        pass

    def end_dead_runs(self) -> None:
        pass


class NullTracker:
    """Logs nothing."""

    where: str | None = None

    @contextmanager
    def invocation(self, name: str, tags: Mapping[str, str]) -> Iterator[NullInvocation]:
        yield NullInvocation()

    @contextmanager
    def joined(self, parent: str | None) -> Iterator[NullInvocation]:
        yield NullInvocation()
