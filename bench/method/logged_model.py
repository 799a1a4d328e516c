"""A trained method as an MLflow model: `mlflow.pyfunc.load_model(uri).predict(keypoints_2d)`.

MLflow's usual model is a pickle, which does whatever it was made to do. This one is a folder of text and safetensors:
`model_code.py` in it builds the method by its name and gives it the weights. Where it is loaded this suite must be
installed, and for a method of another package that package.

The folder is put together here from MLflow's public parts. `mlflow.pyfunc.save_model` would do it in seconds instead of
milliseconds: it loads the model that it has just written, and notes absolute paths of this machine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
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
from bench.system.device import float32_products
from bench.system.errors import BenchError
from bench.system.paths import shown

WEIGHTS, CODE, EXAMPLE = "weights.safetensors", "model_code.py", "input_example.json"
METADATA = "bench"  # one key alone, JSON inside: safetensors promises no order among several
# All that lifting takes but this suite, which is on no package index.
REQUIREMENTS = ("mlflow", "numpy", "torch", "safetensors")


def save_model(content: Mapping[str, Any], window: Window, skeleton: Skeleton, folder: Path) -> None:
    """Write a trained method as an MLflow model into a folder that is there and empty.

    content: what a run keeps in `weights.pt`; window: of the method; skeleton: the joints that it lifts.
    The signature: keypoints_2d (batch, frames, joints, 2), normalised screen coordinates, to poses_3d (batch, frames or
    1, joints, 3), metres, both float32, and the parameter `seed`.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    joints = len(skeleton)
    about = {"name": content["name"], "model": content["model"], "frames": content["frames"], "joints": joints}
    _save_weights(content["method"], about, folder / WEIGHTS)
    shutil.copyfile(Path(__file__).with_name(CODE), folder / CODE)
    example = np.random.default_rng(0).uniform(-0.5, 0.5, (1, window.frames, joints, 2)).round(3)  # nobody's data
    (folder / EXAMPLE).write_text(json.dumps(example.tolist()), encoding="utf-8")
    requirements = [f"{name}=={version(name).partition('+')[0]}\n" for name in REQUIREMENTS]
    (folder / "requirements.txt").write_text("".join(requirements), encoding="utf-8")

    def tensor(*shape: int) -> Schema:
        return Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))])

    model = Model(
        signature=ModelSignature(
            inputs=tensor(window.frames, joints, 2),
            outputs=tensor(window.answers, joints, 3),
            params=ParamSchema([ParamSpec("seed", DataType.long, 0)]),
        ),
        saved_input_example_info={"artifact_path": EXAMPLE, "type": "ndarray"},
        metadata={
            "method": content["name"],
            "joints": list(skeleton.joints),
            "input": "x from -1 to 1 across the image, y in the same scale, downwards",
            "output": "metres, camera axes, relative to the root",
        },
    )
    mlflow.pyfunc.add_to_model(
        model,
        loader_module="mlflow.pyfunc.loaders.code_model",
        model_code_path=CODE,
        artifacts={"weights": {"path": WEIGHTS, "uri": WEIGHTS}},
        streamable=False,
    )
    model.save(folder / "MLmodel")


def load_method(path: str | Path) -> Method:
    """The method in a model's weights file, in evaluation mode; nothing in the file is executed.

    Raises BenchError if it is no such file, or not all of one, or does not fit the method as it is built now.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as stored:
            about = json.loads((stored.metadata() or {})[METADATA])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, OSError, KeyError) as error:
        raise BenchError(f"{shown(path)} holds no weights of a logged model, or not all of them ({error})") from None
    method = build(about["name"], frames=about["frames"], joints=about["joints"], **about["model"])
    try:
        method.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise BenchError(f"{shown(path)} does not fit {method.name} as it is built now: {first}") from None
    return method.eval()


def lift(method: Method, keypoints_2d: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """`method.lift` of arrays: (batch, frames, joints, 2) to metres, (batch, frames or 1, joints, 3).

    seed: of the noise of methods that sample. Each window draws its own, which follows from the seed and from its
    keypoints: whatever batch it comes in, the result is the same. Raises BenchError if the method returns anything but
    the shape it should.
    """
    generators = [_noise(window, seed) for window in keypoints_2d] if method.stochastic else None
    with float32_products(), torch.inference_mode():
        return checked_lift(method, torch.from_numpy(keypoints_2d), generators).float().numpy()


def _noise(window: NDArray[np.float32], seed: int) -> torch.Generator:
    """The generator of one window: a logged model is not told from which video and frame, so its content names it."""
    return generator_of(f"{seed}/{hashlib.sha256(window.astype('<f4').tobytes()).hexdigest()}")


def _save_weights(tensors: Mapping[str, Tensor], about: Mapping[str, Any], path: Path) -> None:
    # Tensors may be views of one storage, which safetensors does not write.
    own = {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()}
    path.write_bytes(safetensors.torch.save(own, metadata={METADATA: json.dumps(about, sort_keys=True)}))
