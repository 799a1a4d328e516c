"""Checkpoints: our own, written whole and read without unpickling; published ones, loaded with every key matched."""

from __future__ import annotations

import contextlib
import pickle
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.method.base import Method
from bench.method.registry import construct, trained_class
from bench.system import paths
from bench.system.errors import BenchError, MissingDataError


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write tensors, numbers, strings and containers of them; the file appears whole."""
    with paths.whole_file(path) as unfinished:
        torch.save(dict(content), unfinished)


# Raised by torch and its weights-only unpickler for a file that is not a checkpoint, or is truncated.
_DAMAGED = (
    pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError, LookupError, AttributeError,
    AssertionError, MemoryError, struct.error,
)  # fmt: skip


def load(path: Path, *, lazily: bool = False) -> dict[str, Any]:
    """Read what `save` wrote; only tensors and plain values are built.

    lazily: tensors are read from the file only when they are used.
    Raises MissingDataError if there is no such file, BenchError if it is a folder, damaged or holds anything else.
    """
    if path.is_dir():
        raise BenchError(f"{paths.shown(path)} is a folder, not a checkpoint; name the file in it")
    if not path.is_file():
        raise MissingDataError(f"{paths.shown(path)} not found: no checkpoint there")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=lazily)
    except _DAMAGED as error:
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise BenchError(
                f"{paths.shown(path)} was refused: it wants to run {wanted[1]}. A checkpoint holds tensors, numbers, "
                "text and containers of them only; do not trust this one"
            ) from None
        # Before its reason, torch's message explains how to load the file unsafely.
        message = str(error).rpartition("WeightsUnpickler error:")[2].strip()
        reason = next(iter(message.splitlines()), "")
        raise BenchError(
            f"{paths.shown(path)} is not a checkpoint, or is truncated ({type(error).__name__}: {reason}); "
            "copy it again"
        ) from None
    if not isinstance(content, dict):
        raise BenchError(f"{paths.shown(path)} holds a {type(content).__name__}, not a checkpoint")
    return content


# --- published checkpoints


def import_upstream(name: str, source: str | Path | Mapping[str, Any], **hyperparameters: Any) -> Method:
    """A method with the weights of its published implementation.

    name: a method, or `METHOD-STAGE` for what one of its earlier stages trains. source: a published checkpoint file,
    or a mapping of upstream state-dict keys to tensors or arrays, with or without `module.` prefixes. Sizes come from
    the tensors; `hyperparameters` give what they do not show (heads).
    Raises BenchError naming every key that is missing or not expected, or the hyper-parameter that does not fit.
    """
    state = upstream_state(source)
    return from_upstream(name, state, upstream_arguments(name, state, hyperparameters))


def upstream_arguments(name: str, state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments for a published state: read off its tensors, overridden by what is given.

    Raises BenchError if the tensors are not those of the method.
    """
    with _named(name):
        return {**trained_class(name).upstream_hyperparameters(state), **given}


def from_upstream(name: str, state: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> Method:
    """A method built with `arguments` that holds the weights of a published state, in evaluation mode.

    Raises BenchError naming every key that is missing or not expected, or the hyper-parameter that does not fit.
    """
    method = construct(name, arguments)
    with _named(name):
        method.load_upstream(state)
    return method.eval()


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn what a method finds wrong with a state into a BenchError that names the method."""
    try:
        yield
    except BenchError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
        raise BenchError(f"{name}: {error}") from error


def load_published(path: Path) -> Mapping[str, Any]:
    """The content of a published checkpoint, NumPy random state in it replaced by inert objects. Raises as `load`."""
    with torch.serialization.safe_globals(_random_state_stand_ins()):
        return load(path)


# The parts of published files that hold a lifter's weights; a bare state dict has none of them.
_WRAPPERS = ("model_diffusion", "model_pos")


def upstream_state(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of a published checkpoint, without `module.` prefixes and profiler leftovers.

    source: a file or what is in it, the state dict itself or the one under `model_pos` or `model_diffusion`.
    Raises BenchError if it holds no weights, anything besides weights, or one weight twice.
    """
    content = load_published(Path(source)) if isinstance(source, str | Path) else source
    weights = next((content[part] for part in _WRAPPERS if isinstance(content.get(part), Mapping)), content)
    if not any(isinstance(value, Tensor | np.ndarray) for value in weights.values()):
        found = ", ".join(str(key) for key in list(weights)[:10]) or "none"
        shown = paths.shown(Path(source)) if isinstance(source, str | Path) else "the checkpoint"
        raise BenchError(f"{shown} holds no weights; keys found: {found}")
    state: dict[str, Tensor] = {}
    for key, value in weights.items():
        clean = _WRAPPED.sub(r"\1", str(key))
        if clean.endswith(("total_ops", "total_params")):
            continue  # left behind by a profiler
        if not isinstance(value, Tensor | np.ndarray):
            raise BenchError(f"{key} of the checkpoint is a {type(value).__name__}, not a tensor")
        if clean in state:
            raise BenchError(f"the checkpoint holds {clean} twice, with and without module.")
        state[clean] = torch.as_tensor(value)
    return state


# `module` in a key comes from a wrapper for several GPUs, around the whole network or a part of it.
_WRAPPED = re.compile(r"(^|\.)(?:module\.)+")


class _InertRandomState:
    """Replaces the NumPy generator that published files hold; it does nothing."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def _random_state_stand_ins() -> list[Any]:
    """What weights-only loading may build besides tensors: inert stand-ins and plain arrays of numbers."""
    builders = (
        *("_pickle.__randomstate_ctor", "_pickle.__generator_ctor", "_pickle.__bit_generator_ctor", "_mt19937.MT19937"),
        "__RandomState_ctor",  # before NumPy 1.17
    )
    allowed: list[Any] = [(_InertRandomState, f"numpy.random.{name}") for name in builders]
    reconstruct, scalar = np.array([]).__reduce__()[0], np.float64(0).__reduce__()[0]
    for package in ("numpy.core", "numpy._core"):
        allowed += [(reconstruct, f"{package}.multiarray._reconstruct"), (scalar, f"{package}.multiarray.scalar")]
    kinds = {type(np.dtype(kind)) for kind in (np.uint32, np.uint64, np.int32, np.int64, np.float32, np.float64)}
    return [*allowed, np.ndarray, np.dtype, *kinds]


def load_exactly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    stacked: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Load an upstream state dict into our module, every key matched.

    names: upstream's names to ours; a prefix of the key, or with a leading dot any part of it.
    stacked: our weights that upstream stores in parts, {".qkv.": (".q.", ".k.", ".v.")}; the parts lie one after the
    other on the first axis, and `names` leads to the names of the parts.
    Raises BenchError naming the keys that are missing, not expected, or of another shape.
    """
    ours: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    twice: list[str] = []  # keys that would overwrite what another one filled
    for key, value in state.items():
        name = renamed(key, names)
        if name in ours:
            twice.append(key)
            continue
        ours[name], origin[name] = value, key
    expected = _in_parts(module.state_dict(), stacked or {})
    missing = sorted(expected.keys() - ours.keys())
    surplus = sorted({*twice, *(origin[key] for key in ours.keys() - expected.keys())})
    reshaped = [
        f"{origin[key]} is {tuple(ours[key].shape)}, not {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & ours.keys())
        if ours[key].shape != expected[key].shape
    ]
    problems = []
    if missing:
        problems.append(f"missing: {', '.join(_upstream_name(key, names) for key in missing)}")
    if surplus:
        problems.append(f"not expected: {', '.join(surplus)}")
    if reshaped:
        problems.append(f"of another shape: {'; '.join(reshaped)}")
    if problems:
        raise BenchError(f"the checkpoint does not fit {type(module).__name__}; " + "; ".join(problems))
    for key, value in expected.items():
        value.copy_(ours[key])


def _in_parts(state: Mapping[str, Tensor], stacked: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """A state dict in which stacked weights are views of their parts; `stacked` as in `load_exactly`."""
    parts: dict[str, Tensor] = {}
    for key, value in state.items():
        whole = next((name for name in stacked if name in key), None)
        if whole is None:
            parts[key] = value
            continue
        for name, part in zip(stacked[whole], value.chunk(len(stacked[whole])), strict=True):
            parts[key.replace(whole, name)] = part
    return parts


def renamed(key: str, names: Mapping[str, str]) -> str:
    """An upstream key under our names; `names` as in `load_exactly`."""
    for theirs, ours in names.items():
        if not theirs.startswith(".") and key.startswith(theirs):
            key = ours + key.removeprefix(theirs)
            break
    for theirs, ours in names.items():
        if theirs.startswith("."):
            key = key.replace(theirs, ours)
    return key


def _upstream_name(key: str, names: Mapping[str, str]) -> str:
    return renamed(key, {ours: theirs for theirs, ours in names.items()})
