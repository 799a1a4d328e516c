"""Models in files that other programs have made, as methods that only lift: ONNX and TorchScript.

A model takes (batch, frames, joints, 2) normalised screen coordinates and returns (batch, frames or 1, joints, 3)
metres, camera axes, root-relative. Nothing else is known of it.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.batch import Window
from bench.method.base import Generators, Method
from bench.system.errors import BenchError, missing_file
from bench.system.paths import shown

Kind = Literal["onnx", "torchscript"]
Targets = Literal["all", "centre", "last"]

TRIAL = 2  # windows lifted to find the output shape; more than one, as in use


class BlackBox(Method):
    """A model in a file; a subclass per kind of file."""

    trainable = False
    frames: int | None = None  # receptive field, where the file states it
    windows: int | None = None  # batch size, where the file fixes it

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def answer(self, keypoints_2d: Tensor) -> Any:
        """The unchecked output of the model. May raise any exception."""
        raise NotImplementedError

    def lift(self, keypoints_2d: Tensor, *, generator: Generators = None) -> Tensor:
        """As `Method.lift`. Raises BenchError if the model fails, or returns anything but finite poses."""
        poses_3d = self.answered(keypoints_2d)
        if poses_3d.shape[1] != self.window.answers:
            raise BenchError(
                f"{shown(self.path)} answered for {poses_3d.shape[1]} frames, but {self.window.answers} before"
            )
        if not torch.isfinite(poses_3d).all():
            raise BenchError(f"{shown(self.path)} returned numbers that are not finite")
        return poses_3d

    def answered(self, keypoints_2d: Tensor) -> Tensor:
        """The output of the model, its shape checked: (batch, frames, joints, 3), as many frames as it answers for."""
        model = f"{shown(self.path)}, given keypoints of the shape {tuple(keypoints_2d.shape)},"
        try:
            poses_3d = self.answer(keypoints_2d)
        except Exception as error:  # neither runtime has an error class of its own
            raise BenchError(f"{model} failed: {_last_line(error)}") from error
        batch, _, joints, _ = keypoints_2d.shape
        if not isinstance(poses_3d, Tensor) or not poses_3d.is_floating_point():
            what = poses_3d.dtype if isinstance(poses_3d, Tensor) else type(poses_3d).__name__
            raise BenchError(f"{model} returned {what}; expected one array of floating-point numbers")
        if poses_3d.ndim != 4 or (len(poses_3d), *poses_3d.shape[2:]) != (batch, joints, 3):
            raise BenchError(
                f"{model} returned the shape {tuple(poses_3d.shape)}; expected (batch, frames or 1, joints, 3)"
            )
        return poses_3d.float()


class OnnxModel(BlackBox):
    """A model in an ONNX file, run by ONNX Runtime on the CPU."""

    name = "onnx"
    TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}

    def __init__(self, path: Path, joints: int) -> None:
        super().__init__(path)
        try:
            import onnxruntime
        except ImportError:
            raise BenchError(
                "ONNX files are run by onnxruntime, which is not installed: pip install 'onnxruntime>=1.18'"
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: they come as exceptions too
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has no error class of its own
            raise BenchError(f"{shown(path)} cannot be read as an ONNX model: {_last_line(error)}") from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        for what, found in (("input", inputs), ("output", outputs)):
            if len(found) != 1:
                names = ", ".join(f"{one.name} {one.shape}" for one in found)
                raise BenchError(f"{shown(path)}: the model has {len(found)} {what}s ({names}), expected one")
        self.input, shape = inputs[0].name, inputs[0].shape
        if inputs[0].type not in self.TYPES:
            raise BenchError(
                f"{shown(path)}: input {self.input!r} is {inputs[0].type}, expected {', '.join(self.TYPES)}"
            )
        self.number = self.TYPES[inputs[0].type]
        stated = [size if isinstance(size, int) else None for size in shape]  # others are names: any number
        if len(stated) != 4 or stated[2] not in (None, joints) or stated[3] not in (None, 2):
            raise BenchError(
                f"{shown(path)}: input {self.input!r} has the shape {shape}, expected (batch, frames, {joints}, 2)"
            )
        self.windows, self.frames = stated[:2]

    def answer(self, keypoints_2d: Tensor) -> Any:
        given = keypoints_2d.cpu().numpy().astype(self.number)
        if self.windows is None:
            return torch.from_numpy(self._run(given))
        spare = -len(given) % self.windows  # the last part is filled up with windows whose output is dropped
        whole = np.concatenate([given, given[-1:].repeat(spare, axis=0)])
        parts = np.split(whole, len(whole) // self.windows)
        return torch.from_numpy(np.concatenate([self._run(part) for part in parts])[: len(given)])

    def _run(self, given: NDArray[Any]) -> NDArray[Any]:
        (found,) = self.session.run(None, {self.input: given})
        return np.asarray(found)


class TorchScriptModel(BlackBox):
    """A model in a TorchScript file, as `torch.jit.save` writes it."""

    name = "torchscript"

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__(path)
        _refuse_file_access(path)
        self.device = device
        try:
            self.script = torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
        except Exception as error:  # RuntimeError and others, depending on the file
            raise BenchError(f"{shown(path)} cannot be read as a TorchScript model: {_last_line(error)}") from error

    def answer(self, keypoints_2d: Tensor) -> Any:
        return self.script(keypoints_2d.to(self.device))


def load(
    path: Path,
    kind: Kind,
    joints: int,
    *,
    frames: int | None = None,
    targets: Targets | None = None,
    step: int = 1,
    device: torch.device | str = "cpu",
) -> BlackBox:
    """The model in a file, with the window that it reads.

    frames, targets: required where the file does not state them. step: frames between two of its input frames. device:
    of TorchScript; ONNX runs on the CPU. Raises MissingDataError if there is no file; BenchError if it is not such a
    model, if its input or output has another shape, or if its window is not known.
    """
    if not path.is_file():
        raise missing_file(shown(path))
    model = OnnxModel(path, joints) if kind == "onnx" else TorchScriptModel(path, torch.device(device))
    if frames is None and model.frames is None:
        raise BenchError(f"{shown(path)} does not say how many frames it reads at once; give it with --frames N")
    if frames is not None and model.frames not in (None, frames):
        raise BenchError(f"{shown(path)} reads {model.frames} frames at once, not {frames}")
    frames = model.frames or frames
    assert frames is not None
    with torch.inference_mode():
        answers = model.answered(torch.zeros(model.windows or TRIAL, frames, joints, 2)).shape[1]
    model.window = _window(shown(path), frames, answers, targets, step)
    return model


def _window(where: str, frames: int, answers: int, targets: Targets | None, step: int) -> Window:
    """The window of a model. Raises BenchError if it is ambiguous or contradicts what was given."""
    if answers not in (1, frames):
        raise BenchError(f"{where} answers for {answers} of {frames} frames; expected all of them, or one")
    if answers == 1 < frames and targets is None:
        raise BenchError(f"{where} answers for one of {frames} frames; say which: --targets centre, or --targets last")
    if frames > 1 and targets is not None and (targets == "all") != (answers == frames):
        raise BenchError(
            f"{where} answers for {'all' if answers == frames else 'one'} of {frames} frames, not {targets}"
        )
    try:
        return Window(frames, targets or "all", step=step)
    except ValueError as error:
        raise BenchError(f"{where}: {error}") from None


# What TorchScript can do beyond arithmetic, by name: its code cannot compose a name at run time.
_FILE_ACCESS = re.compile(r"\b(?:from_file|save)\b|\bops\.(?!prim\b|aten\b)\w+\.\w+|\btorch\.classes\b")


def _refuse_file_access(path: Path) -> None:
    """Raise BenchError for a TorchScript file whose code reads or writes files, or leaves PyTorch's own operators.

    Loading such a file builds no Python objects, but its code may read and write any file of the user.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if "/code/" in name and name.endswith(".py")]
            code = "\n".join(archive.read(member).decode("utf-8") for member in members)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, OSError) as error:
        raise BenchError(f"{shown(path)} is not a TorchScript file, as torch.jit.save writes it ({error})") from error
    if found := _FILE_ACCESS.search(code):
        raise BenchError(
            f"{shown(path)} was refused: its code calls {found[0]}, which no lifter needs; do not trust this file"
        )


def _last_line(error: Exception) -> str:
    """The line of an error that says what went wrong; runtimes put their own call stack before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
