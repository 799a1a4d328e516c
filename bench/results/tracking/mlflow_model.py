"""A trained method as an MLflow model: `mlflow.pyfunc.load_model(uri).predict(keypoints_2d)`.

MLflow's usual model is a pickle, and a pickle can execute anything when it is loaded. This one is a folder of text and
safetensors: `model_code.py` in it builds the method by its name and loads the weights. To load it, this suite must be
installed, and the package of the method if that is another.

The folder is put together here from MLflow's public parts. `mlflow.pyfunc.save_model` would take seconds instead of
milliseconds: it loads the model that it has just written, and records absolute paths of this machine.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np

from bench.results.tracking.tracker import TrainedModel

WEIGHTS, CODE, EXAMPLE = "weights.safetensors", "model_code.py", "input_example.json"
# What lifting needs besides this suite, which is on no package index.
REQUIREMENTS = ("mlflow", "numpy", "torch", "safetensors")


def write(trained: TrainedModel, folder: Path) -> None:
    """Write a trained method as an MLflow model into a folder that exists and is empty.

    The signature: keypoints_2d (batch, frames, joints, 2), normalised screen coordinates, to poses_3d (batch, answered,
    joints, 3), metres, both float32, and the parameter `seed`.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    joints = len(trained.joints)
    trained.write_weights(folder / WEIGHTS)
    shutil.copyfile(Path(__file__).with_name("mlflow_model_code.py"), folder / CODE)
    example = (
        np.random.default_rng(0).uniform(-0.5, 0.5, (1, trained.frames, joints, 2)).round(3)
    )  # random, no real data
    (folder / EXAMPLE).write_text(json.dumps(example.tolist()), encoding="utf-8")
    requirements = [f"{name}=={version(name).partition('+')[0]}\n" for name in REQUIREMENTS]
    (folder / "requirements.txt").write_text("".join(requirements), encoding="utf-8")

    def tensor(*shape: int) -> Schema:
        return Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))])

    model = Model(
        signature=ModelSignature(
            inputs=tensor(trained.frames, joints, 2),
            outputs=tensor(trained.answered, joints, 3),
            params=ParamSchema([ParamSpec("seed", DataType.long, 0)]),
        ),
        saved_input_example_info={"artifact_path": EXAMPLE, "type": "ndarray"},
        metadata={
            "method": trained.method,
            "joints": list(trained.joints),
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
