"""The training history of a run, kept beside its weights: a record needs no checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.runs.plan import Run
from bench.system import paths
from bench.system.errors import BenchError
from bench.training.loop import Epoch, Trained, finished_training


@dataclass(frozen=True)
class Course:
    """The training history of a run. trained: of the method. stages: of its earlier stages, by name."""

    trained: Trained
    stages: Mapping[str, Trained] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        content = {"trained": asdict(self.trained), "stages": {name: asdict(one) for name, one in self.stages.items()}}
        paths.write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: Path) -> Course:
        """Read what `save` wrote. Raises BenchError if the file is damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            stages = {name: _trained(one) for name, one in content["stages"].items()}
            return cls(_trained(content["trained"]), stages)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise BenchError(f"{paths.shown(path)} is damaged ({error}); remove it") from None

    @classmethod
    def of(cls, run: Run) -> Course | None:
        """The history of a trained run; None if neither its file nor its checkpoints are left."""
        if run.course_file.is_file():
            return cls.load(run.course_file)
        trained = finished_training(run.folder, run.settings.recipe)
        stages = {one.stage: finished_training(one.folder, one.settings.recipe) for one in run.stages}
        known = {name: found for name, found in stages.items() if found is not None}
        return None if trained is None else cls(trained, known)


def _trained(content: dict[str, Any]) -> Trained:
    return Trained(**{**content, "history": [Epoch(**epoch) for epoch in content["history"]]})
