"""Weights files: published checkpoints, imported once, as safetensors with a header that says how to build the method.

A published checkpoint is a pickle that does not state its hyper-parameters. `import_file` reads one through the
restricted reader of `bench.method.checkpoint`; `save_weights` writes the result, `load_weights` reads that back.
Tensors keep their published names, so that no renaming here makes a file unreadable. A file holds published values
only: a statistic like a pose scale is computed when the method is prepared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.config.load import benchmark_names, load_benchmark
from bench.config.schema import NAME, Benchmark, Count, Strict
from bench.data import dataset_named
from bench.method.base import Method
from bench.method.checkpoint import from_upstream, upstream_arguments, upstream_state
from bench.method.registry import method_and_stage, trained_class
from bench.system import paths
from bench.system.errors import BenchError, missing_file, unknown

SUFFIX = ".safetensors"
_METADATA_KEY = "bench"  # a single key, since safetensors does not order several: equal content gives equal bytes


class Origin(Strict):
    """The published file that weights were read from: its name and hash."""

    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, eq=False)
class Weights:
    """What a weights file holds.

    method: `METHOD`, or `METHOD-STAGE` for what one of its earlier stages trains. frames, joints: of its window.
    hyperparameters: read off the tensors or given; JSON values. tensors: the weights, under their published names.
    """

    method: str
    frames: int
    joints: int
    hyperparameters: Mapping[str, Any]
    origin: Origin
    tensors: Mapping[str, Tensor]

    def build(self, **changes: Any) -> Method:
        """The method with these weights, in evaluation mode. changes: hyper-parameters to replace.

        Raises BenchError for an unknown method or hyper-parameter, or if the tensors do not fit the method.
        """
        arguments = {**self.hyperparameters, "frames": self.frames, "joints": self.joints, **changes}
        with torch.random.fork_rng(devices=[]):  # the initial values are overwritten: keep the random state
            return from_upstream(self.method, self.tensors, arguments)

    def entry(self, benchmark: Benchmark) -> str:
        """The key of the benchmark's method that these weights fit: same method, frames and joints.

        Of several, the one with the fewest hyper-parameters that they contradict. Raises BenchError if there is none.
        """
        method, _ = method_and_stage(self.method)
        frames = {key: benchmark.frames(key) for key in benchmark.methods if benchmark.registered(key) == method}
        if not frames:
            raise unknown(f"method of {benchmark.name}", method, map(benchmark.registered, benchmark.methods))
        joints = len(dataset_named(benchmark.protocol.trained_on.dataset).skeleton)
        fitting = [key for key in frames if (frames[key], joints) == (self.frames, self.joints)]
        if fitting:
            return min(fitting, key=lambda key: self._contradictions(benchmark.methods[key].model))
        wanted = " or ".join(str(one) for one in sorted(set(frames.values())))
        raise BenchError(
            f"{self.origin.file} lifts {self.frames} frames of {self.joints} joints, {benchmark.name} wants {wanted} "
            f"frames of {joints} joints; import it for a benchmark of its own size"
        )

    def _contradictions(self, stated: Mapping[str, Any]) -> int:
        return sum(self.hyperparameters[key] != stated[key] for key in stated.keys() & self.hyperparameters.keys())

    def check(self, benchmark: Benchmark, entry: str, stage: str = "") -> None:
        """Raises BenchError unless these weights are for this method of a benchmark, or this stage of it."""
        wanted = benchmark.registered(entry) + (f"-{stage}" if stage else "")
        if self.method != wanted:
            raise BenchError(f"{self.origin.file} holds weights of {self.method}; {entry} needs those of {wanted}")
        only = benchmark.model_copy(update={"methods": {entry: benchmark.methods[entry]}})
        self.entry(only)


def default_path(method: str, file: Path) -> Path:
    """Where the weights of a published file are written if they are not imported for a benchmark."""
    return paths.checkpoints() / f"{method}-{file.stem}{SUFFIX}"


def benchmark_path(benchmark: str, entry: str, stage: str = "") -> Path:
    """Where a benchmark looks for published weights of one of its methods (by key), or of one of its stages."""
    return paths.checkpoints() / benchmark / f"{entry}{'-' if stage else ''}{stage}{SUFFIX}"


def import_file(method: str, file: Path, hyperparameters: Mapping[str, Any] | None = None) -> Weights:
    """Read a published checkpoint: sizes from its tensors, every key matched, nothing in it executed.

    method: `METHOD` or `METHOD-STAGE`. hyperparameters: what tensors do not show. Raises MissingDataError if there is
    no such file; BenchError, naming it, if it is damaged, was refused or does not fit the method.
    """
    if file.suffix == SUFFIX:
        raise BenchError(
            f"{paths.shown(file)} is not a checkpoint of published code; what bench import wrote is ready for use"
        )
    trained_class(method)  # report a wrong name before the file is read
    state = upstream_state(file)
    try:
        arguments = upstream_arguments(method, state, hyperparameters or {})
        from_upstream(method, state, arguments)
    except BenchError as error:
        raise BenchError(f"{paths.shown(file)}: {error}") from error
    with file.open("rb") as stream:
        origin = Origin(file=file.name, sha256=hashlib.file_digest(stream, "sha256").hexdigest())
    frames, joints = arguments.pop("frames"), arguments.pop("joints")
    return Weights(method, frames, joints, arguments, origin, state)


def summary(weights: Weights) -> str:
    """What was imported, as text: method, sizes, hyper-parameters, origin."""
    model = ", ".join(f"{name} {value}" for name, value in sorted(weights.hyperparameters.items()))
    numbers = weights.build().parameter_count
    return "\n".join(
        [
            f"{weights.method} from {weights.origin.file}",
            f"  sizes       {weights.frames} frames, {weights.joints} joints, {numbers:,} parameters",
            f"  model       {model}",
            f"  origin      SHA-256 {weights.origin.sha256}",
        ]
    )


def fitting_benchmarks(weights: Weights) -> list[str]:
    """The benchmarks in `configs/` that can use these weights."""
    fitting = []
    for name in benchmark_names():
        with contextlib.suppress(BenchError):
            weights.entry(load_benchmark(name))
            fitting.append(name)
    return fitting


# --- the file


class _Header(Strict):
    """The JSON metadata of a weights file."""

    schema_: Literal[1] = Field(1, alias="schema")
    method: str = Field(pattern=NAME)
    frames: Count
    joints: Count
    hyperparameters: dict[str, Any]
    origin: Origin


def save_weights(weights: Weights, path: Path, *, force: bool = False) -> None:
    """Write a weights file, whole or not at all; the same weights always give the same bytes.

    An existing file with the same content is kept; another is replaced only with `force`. Raises BenchError if there is
    another one, if the file cannot be written, or for a hyper-parameter that JSON cannot hold.
    """
    shown = paths.shown(path)
    if path.suffix != SUFFIX:
        raise BenchError(f"{shown} would hold safetensors: give it a name that ends in {SUFFIX}")
    content = _serialised(weights)
    if path.is_file() and not force:
        if path.read_bytes() == content:
            return
        raise BenchError(f"{shown} is there already and holds other weights; choose another name, or --force")
    with paths.whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def _serialised(weights: Weights) -> bytes:
    header = {
        "schema": 1,
        "method": weights.method,
        "frames": weights.frames,
        "joints": weights.joints,
        "hyperparameters": dict(weights.hyperparameters),
        "origin": weights.origin.model_dump(),
    }
    try:
        text = json.dumps(header, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BenchError(f"{weights.method}: hyper-parameters must be what JSON can hold: {error}") from None
    # Tensors of one checkpoint may be views of one storage, which safetensors does not write.
    own = {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in weights.tensors.items()}
    return safetensors.torch.save(own, metadata={_METADATA_KEY: text})


def load_weights(path: str | Path) -> Weights:
    """Read what `save_weights` wrote, and build the method once to see that it fits.

    Raises MissingDataError if there is no such file; BenchError, naming it, if it is not a safetensors file or is
    truncated, has no header or another tool's, or if its tensors do not fit the method.
    """
    path = Path(path)
    shown = paths.shown(path)
    if not path.is_file():
        raise missing_file(shown, "no weights there; bench import writes such files")
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError) as error:
        raise BenchError(f"{shown} is not a safetensors file, or is truncated ({error}). {_REPAIR}") from None
    header = _read_header(metadata, shown)
    weights = Weights(header.method, header.frames, header.joints, header.hyperparameters, header.origin, tensors)
    try:
        weights.build()
    except BenchError as error:
        raise BenchError(f"{shown}: {error}. {_REPAIR}") from error
    return weights


_REPAIR = "Weights files are written by bench import, from published checkpoints: import that file again"


def _read_header(metadata: Mapping[str, str], shown: str) -> _Header:
    if _METADATA_KEY not in metadata:
        raise BenchError(f"{shown} is a safetensors file of another tool: it does not say what to build. {_REPAIR}")
    try:
        content = json.loads(metadata[_METADATA_KEY])
        return _Header.model_validate(content)
    except ValidationError as error:
        item = error.errors()[0]
        key = ".".join(str(step) for step in item["loc"])
        raise BenchError(f"{shown}: {key or 'header'}: {item['msg']}, found {item['input']!r}. {_REPAIR}") from None
    except ValueError as error:
        raise BenchError(f"{shown}: its header is not JSON: {error}. {_REPAIR}") from None
