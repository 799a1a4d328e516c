"""Checkpoints: our own, written whole and read without unpickling; published ones, read in exactly or not at all."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import paths
from bench.errors import BenchError, MissingDataError, unknown
from bench.method import Method


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write tensors, numbers, strings and containers of them; the file appears whole."""
    with paths.whole_file(path) as unfinished:
        torch.save(dict(content), unfinished)


# What torch and its weights-only unpickler raise over bytes that are not a checkpoint, or not all of it.
_DAMAGED = (
    pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError, LookupError, AttributeError,
    AssertionError, struct.error,
)  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote; nothing but tensors and plain values is ever built.

    Raises MissingDataError if there is no such file, BenchError if it is damaged or holds anything else.
    """
    if not path.is_file():
        raise MissingDataError(f"{paths.shown(path)} not found: no checkpoint there")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise BenchError(
                f"{paths.shown(path)} was refused: it wants to run {wanted[1]}. A checkpoint holds tensors, numbers, "
                "text and containers of them only; do not trust this one"
            ) from None
        reason = next(iter(str(error).splitlines()), "")
        raise BenchError(
            f"{paths.shown(path)} is no checkpoint, or not all of one ({type(error).__name__}: {reason}); copy it again"
        ) from None
    if not isinstance(content, dict):
        raise BenchError(f"{paths.shown(path)} holds a {type(content).__name__}, not a checkpoint")
    return content


# --- published checkpoints


def import_upstream(name: str, source: str | Path | Mapping[str, Any], **hyperparameters: Any) -> Method:
    """A method with the weights of its published implementation.

    name: of a method, or `METHOD-STAGE` for what one of its earlier stages trains. source: a published checkpoint file,
    or a mapping of upstream state-dict keys to tensors or arrays, with or without `module.` prefixes. Sizes come from
    the tensors; `hyperparameters` give what tensors do not tell (heads).
    Raises BenchError naming every key that is missing or not expected, or the hyper-parameter that does not fit.
    """
    from bench.registry import method_class, methods

    owner, _, stage = name.partition("-")
    cls = method_class(name) if name in methods() or not stage else method_class(owner).stages.get(stage)
    if cls is None:
        raise unknown(f"stage of {owner}", stage, method_class(owner).stages)
    state = upstream_state(source)
    try:
        method = cls(**{**cls.upstream_hyperparameters(state), **hyperparameters})
        method.load_upstream(state)
    except BenchError:
        raise
    except (ValueError, TypeError, LookupError) as error:
        raise BenchError(f"{name}: {error}") from error
    return method.eval()


def upstream_state(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of a published checkpoint, without `module.` prefixes and profiler leftovers."""
    if isinstance(source, str | Path):
        with torch.serialization.safe_globals(_random_state_stand_ins()):
            content: Mapping[str, Any] = load(Path(source))
    else:
        content = source
    for wrapper in ("model_diffusion", "model_pos"):
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    state = {}
    for key, value in content.items():
        clean = key.removeprefix("module.")
        if clean.endswith(("total_ops", "total_params")):
            continue  # left behind by a profiler
        if not isinstance(value, Tensor | np.ndarray):
            raise BenchError(f"{key} of the checkpoint is a {type(value).__name__}, not a tensor")
        state[clean] = torch.as_tensor(value)
    return state


class _InertRandomState:
    """Takes the place of the NumPy generator that published files carry; it does nothing."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def _random_state_stand_ins() -> list[Any]:
    """What weights-only loading may build besides tensors: inert stand-ins and plain arrays of numbers."""
    random = ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor")
    allowed: list[Any] = [(_InertRandomState, f"numpy.random._pickle.{name}") for name in random]
    allowed.append((_InertRandomState, "numpy.random._mt19937.MT19937"))
    reconstruct, scalar = np.array([]).__reduce__()[0], np.float64(0).__reduce__()[0]
    for package in ("numpy.core", "numpy._core"):
        allowed += [(reconstruct, f"{package}.multiarray._reconstruct"), (scalar, f"{package}.multiarray.scalar")]
    kinds = {type(np.dtype(kind)) for kind in (np.uint32, np.uint64, np.int32, np.int64, np.float64)}
    return [*allowed, np.ndarray, np.dtype, *kinds]


def load_exactly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    stacked: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Load an upstream state dict into our module, every key accounted for.

    names: upstream's names to ours; a prefix of the key, or with a leading dot the same anywhere inside it.
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
