"""The committed outcome of a sweep: results/sweeps/BENCHMARK/NAME.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field, ValidationError

from bench.config.schema import NAME, Strict
from bench.results.records import Data, Metric, Provenance
from bench.system import paths
from bench.system.errors import BenchError

# The name of each setting, on a page and along an axis.
KNOBS = {
    "noise_half_widths": "noise on the 2D keypoints, standard deviation in half image widths",
    "joint_drop": "probability that a 2D keypoint is missing",
    "sampling_steps": "sampling steps",
    "hypotheses": "hypotheses H",
    "frames": "frames of the receptive field",
}

COUNTS = ("sampling_steps", "hypotheses", "frames")  # on a logarithmic axis

# How hypotheses were combined: the label of a row, and whether it uses the ground truth.
COMBINED = {
    "mean": ("mean of H", False),
    "best_oracle": ("best of H, oracle", True),
    "reprojected_joints_oracle_root": ("joints by reprojection, oracle on the root", True),
}


class SweepPoint(Strict):
    """One method with one seed at one value of the setting."""

    method: str = Field(pattern=NAME)  # its key in the benchmark
    seed: int = Field(ge=0)
    value: int | float
    combined: Literal["mean", "best_oracle", "reprojected_joints_oracle_root"] | None = None  # of many hypotheses
    run_key: str = Field(pattern=r"^[0-9a-f]{64}$")  # of the run whose weights were tested
    metrics: dict[str, Metric] = Field(min_length=1)
    frames: int = Field(ge=1)  # test frames counted
    sequences: int = Field(ge=1)
    mlflow_run_id: str | None = None
    finished_at: AwareDatetime


class Outcome(Strict):
    """All points of one sweep of one benchmark."""

    schema_: Literal[1] = Field(1, alias="schema")
    benchmark: str = Field(pattern=NAME)
    title: str
    sweep: str = Field(pattern=NAME)
    knob: Literal["noise_half_widths", "joint_drop", "sampling_steps", "hypotheses", "frames"]
    data: Data
    protocol: dict[str, Any]
    points: tuple[SweepPoint, ...] = Field(min_length=1)
    provenance: Provenance  # of the newest points

    @property
    def path(self) -> Path:
        """Where it belongs, relative to the folder of all sweeps."""
        return Path(self.benchmark) / f"{self.sweep}.json"


def read(path: Path) -> Outcome:
    """Read one outcome. Raises BenchError naming the file and the key if it is not what `write` writes."""
    repair = "it is written by `bench sweep`, never by hand: restore it from git or remove it"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        outcome = Outcome.model_validate(content)
    except ValidationError as error:
        item = error.errors()[0]
        key = ".".join(str(step) for step in item["loc"])
        raise BenchError(f"{paths.shown(path)}: {key}: {item['msg']}; {repair}") from None
    except (OSError, ValueError) as error:
        raise BenchError(f"{paths.shown(path)} cannot be read as JSON: {error}; {repair}") from None
    if (outcome.benchmark, outcome.sweep) != (path.parent.name, path.stem):
        raise BenchError(f"{paths.shown(path)} holds what belongs in {outcome.path.as_posix()}")
    return outcome


def folder() -> Path:
    return paths.results() / "sweeps"


def files(benchmark: str) -> list[Path]:
    """The outcomes of a benchmark's sweeps, by name."""
    return sorted((folder() / benchmark).glob("*.json"))
