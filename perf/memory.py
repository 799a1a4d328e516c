"""Memory: what autograd holds, counted exactly; and the peak of a step, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.config.schema import Recipe
from bench.method import Method
from bench.method.cost import timed
from bench.system import paths
from bench.system.progress import silence
from bench.training.loop import Job, fit
from perf import samples

BATCH = 24  # windows: what the authors of Diff3DHPE train with at 243 frames
FRAMES = 243


def held_for_backward(loss: Callable[[Method], Tensor], method: Method) -> int:
    """Bytes that autograd keeps between `loss(method)` and its backward pass, parameters and buffers not counted.

    Memory that a kernel needs only while it runs is not included.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in [*method.parameters(), *method.buffers()]}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # with its history, a kept output would keep itself alive forever

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = loss(method)
    size = sum(held.values())
    del total  # kept alive until here, so that no address is used for two tensors
    return size


def step_in_a_child(sizes: Mapping[str, int], device: str, micro_batch: int | None) -> dict[str, float]:
    """`step` in a new process, whose memory holds nothing else."""
    arguments = json.dumps({"sizes": sizes, "device": device, "micro_batch": micro_batch})
    command = [sys.executable, "-m", "perf.memory", arguments]
    done = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def step(sizes: Mapping[str, int], device: str, micro_batch: int | None) -> dict[str, float]:
    """Train Diff3DHPE for one step of `BATCH` windows: its loss, and the growth of the process or of the GPU's tensors.

    micro_batch: as in a recipe. The weights and PyTorch were in the memory before; gradients and optimiser come on top.
    """
    method = samples.built("diff3dhpe", FRAMES, drop_path=0, **sizes)
    dataset = samples.one_video(BATCH * FRAMES)
    parts: dict[str, Any] = {} if micro_batch is None else {"micro_batch": micro_batch}
    recipe = Recipe(epochs=1, batch_windows=BATCH, flip=False, **parts)
    with tempfile.TemporaryDirectory() as folder, silence():
        job = Job(dataset, None, recipe, seed=0, folder=Path(folder), device=torch.device(device))
        trained, cost = timed(lambda: fit(method, job), BATCH * FRAMES, job.device)
    if cost.peak_memory_mb is None:
        raise OSError("the peak memory of a process is only known on Linux")
    return {"loss": trained.history[0].loss["total"], "peak_bytes": int(1e6 * cost.peak_memory_mb)}


if __name__ == "__main__":
    print(json.dumps(step(**json.loads(sys.argv[1]))))
