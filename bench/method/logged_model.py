"""A trained method in a file of its own, the weights of a logged model: loading it executes nothing.

`trained_model` is what a tracker keeps of a method; `load_method` and `lift` are what the model does when loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.data.batch import Window
from bench.geometry.skeleton import Skeleton
from bench.method.base import Method, checked_lift, generator_of
from bench.method.registry import build
from bench.results.tracking.tracker import TrainedModel
from bench.system.device import float32_products
from bench.system.errors import BenchError
from bench.system.paths import shown

METADATA = "bench"  # one key alone, JSON inside: safetensors promises no order among several


def trained_model(content: Mapping[str, Any], window: Window, skeleton: Skeleton) -> TrainedModel:
    """A trained method as a tracker keeps it.

    content: what a run keeps in `weights.pt`; window: of the method; skeleton: the joints that it lifts.
    """
    about = {key: content[key] for key in ("name", "model", "frames")} | {"joints": len(skeleton)}
    return TrainedModel(
        method=content["name"],
        joints=tuple(skeleton.joints),
        frames=window.frames,
        answered=window.answers,
        write_weights=partial(_save_weights, content["method"], about),
    )


def load_method(path: str | Path) -> Method:
    """The method in a model's weights file, in evaluation mode; nothing in the file is executed.

    Raises BenchError if the file is of another kind or damaged, or does not fit the method as it is built now.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as stored:
            about = json.loads((stored.metadata() or {})[METADATA])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError, KeyError) as error:
        raise BenchError(f"{shown(path)} holds no weights of a logged model, or is damaged ({error})") from None
    method = build(about["name"], frames=about["frames"], joints=about["joints"], **about["model"])
    try:
        method.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise BenchError(f"{shown(path)} does not fit {method.name} as it is built now: {first}") from None
    return method.eval()


def lift(method: Method, keypoints_2d: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """`method.lift` of arrays: (batch, frames, joints, 2) to metres, (batch, frames or 1, joints, 3).

    seed: of the noise of methods that sample. Each window draws its own, from the seed and its keypoints, so that the
    result does not depend on the batch. Raises BenchError if the method returns another shape.
    """
    generators = [_noise(window, seed) for window in keypoints_2d] if method.stochastic else None
    with float32_products(), torch.inference_mode():
        return checked_lift(method, torch.from_numpy(keypoints_2d), generators).float().numpy()


def _noise(window: NDArray[np.float32], seed: int) -> torch.Generator:
    """The generator of one window: seeded by its content, as a logged model does not know video and frame."""
    return generator_of(f"{seed}/{hashlib.sha256(window.astype('<f4').tobytes()).hexdigest()}")


def _save_weights(tensors: Mapping[str, Tensor], about: Mapping[str, Any], path: Path) -> None:
    # Tensors may be views of one storage, which safetensors does not write.
    own = {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()}
    path.write_bytes(safetensors.torch.save(own, metadata={METADATA: json.dumps(about, sort_keys=True)}))
