"""Models in files: the same poses as the method they were made of, and every way in which a file can be wrong."""

from __future__ import annotations

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from samples import toy_dataset

from bench import build
from bench.data.windows import scored_windows
from bench.evaluation import predict
from bench.method import Window, blackbox
from bench.system.errors import BenchError

F = 9


class Lifter(torch.nn.Module):
    """What a user exports: keypoints in, poses out."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def forward(self, keypoints_2d):
        return self.method.lift(keypoints_2d)


@pytest.mark.filterwarnings("ignore")  # those of PyTorch's exporters
@pytest.mark.parametrize(("kind", "name"), [("onnx", "videopose3d"), ("torchscript", "mixste")])
def test_a_model_in_a_file_predicts_as_the_method_it_was_made_of(tmp_path, kind, name):
    torch.manual_seed(0)
    native = build(name, frames=F, **({"dim": 16} if name == "videopose3d" else {"dim": 16, "depth": 1, "heads": 2}))
    path, example = tmp_path / "model", torch.zeros(2, F, 17, 2)
    if kind == "onnx":
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(Lifter(native.eval()), (example,), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
        model = blackbox.load(path, kind, 17, targets="centre")
    else:
        torch.jit.trace(Lifter(native.eval()), example).save(path)
        model = blackbox.load(path, kind, 17, frames=F)
    assert (model.window.frames, model.window.targets) == (F, native.window.targets)
    dataset = toy_dataset()
    for flip in (False, True):
        ours, theirs = predict(native, dataset, flip=flip), predict(model, dataset, flip=flip)
        np.testing.assert_array_equal(ours.table, theirs.table)
        np.testing.assert_allclose(theirs.poses_3d, ours.poses_3d, atol=1e-6)  # metres


# Small ONNX files by hand: pose = a matrix product of the keypoints, cut or changed as a test wants


def onnx_file(
    path: Path, shape=("batch", F, 17, 2), extra=(), kind=TensorProto.FLOAT, inputs=(), answer=(2, 3)
) -> Path:
    """A model whose poses are keypoints @ [[1, 0, 1], [0, 1, 0]], then the nodes of `extra`."""
    number = helper.tensor_dtype_to_np_dtype(kind)
    weights = onnx.numpy_helper.from_array(np.eye(*answer).astype(number), "weights")
    nodes = [helper.make_node("MatMul", ["keypoints", "weights"], ["poses0"]), *extra]
    last = nodes[-1].output[0]
    given = [helper.make_tensor_value_info(name, kind, size) for name, size in (("keypoints", shape), *inputs)]
    graph = helper.make_graph(nodes, "lifter", given, [helper.make_tensor_value_info(last, kind, None)], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def node(operator: str, *constants: str, **attributes):
    return helper.make_node(operator, ["poses0", *constants], ["poses"], **attributes)


def only_frame(frame: int):
    """The pose of one frame: (batch, 1, joints, 3)."""
    value = helper.make_tensor("value", TensorProto.INT64, [1], [frame])
    return [helper.make_node("Constant", [], ["frame"], value=value), node("Gather", "frame", axis=1)]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
@pytest.mark.parametrize("shape", [("batch", F, 17, 2), (None, F, None, None), (4, F, 17, 2), (1, "frames", 17, 2)])
def test_any_number_of_windows_or_a_stated_one(tmp_path, shape, kind):
    path = onnx_file(tmp_path / "model.onnx", shape, kind=kind)
    model = blackbox.load(path, "onnx", 17, frames=None if shape[1] == F else F)
    assert model.window == Window(F)
    keypoints = torch.randn(7, F, 17, 2)
    lifted = model.lift(keypoints)
    assert lifted.dtype == torch.float32
    torch.testing.assert_close(lifted[..., :2], keypoints)
    assert not lifted[..., 2].any()


@pytest.mark.parametrize(("frame", "targets"), [(4, "centre"), (8, "last")])
def test_the_user_says_which_frame_a_single_output_is(tmp_path, frame, targets):
    path = onnx_file(tmp_path / "model.onnx", extra=only_frame(frame))
    with pytest.raises(BenchError, match=r"answers for one of 9 frames; say which: --targets centre, or"):
        blackbox.load(path, "onnx", 17)
    model, dataset = blackbox.load(path, "onnx", 17, targets=targets), toy_dataset()
    predicted = predict(model, dataset, flip=False)
    assert len(predicted.table) == len(scored_windows(dataset, Window(1)))
    np.testing.assert_array_equal(predicted.per_frame(dataset)[..., :2], dataset.keypoints_2d.numpy())


def test_input_frames_may_be_spaced(tmp_path):
    path = onnx_file(tmp_path / "model.onnx", extra=only_frame(4))
    assert blackbox.load(path, "onnx", 17, targets="centre", step=2).window == Window(F, "centre", step=2)
    with pytest.raises(BenchError, match="targets 'all' needs step 1"):
        blackbox.load(onnx_file(tmp_path / "all.onnx"), "onnx", 17, step=2)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"shape": ("batch", F, 16, 2)}, {}, r"input 'keypoints' has the shape .* expected \(batch, frames, 17, 2\)"),
        ({"shape": ("batch", F, 17, 3), "answer": (3, 3)}, {}, r"expected \(batch, frames, 17, 2\)"),
        ({"shape": ("batch", F, 34), "answer": (34, 51)}, {}, r"expected \(batch, frames, 17, 2\)"),
        ({"inputs": [("lengths", ["batch"])]}, {}, r"has 2 inputs \(keypoints \[.*\], lengths \[.*\]\)"),
        ({"shape": ("batch", "frames", 17, 2)}, {}, r"does not say how many frames .* --frames N"),
        ({}, {"frames": 27}, r"reads 9 frames at once, not 27"),
        ({}, {"targets": "centre"}, r"answers for all of 9 frames, not centre"),
        ({"extra": only_frame(4)}, {"targets": "all"}, r"answers for one of 9 frames, not all"),
        ({"extra": [node("Transpose", perm=[0, 2, 1, 3])]}, {}, r"returned the shape \(2, 17, 9, 3\)"),
        ({"answer": (2, 4)}, {}, r"shape \(2, 9, 17, 4\); expected \(batch, frames or 1, joints, 3\)"),
        ({"extra": [node("Flatten", axis=2)]}, {}, r"returned the shape \(18, 51\)"),
        ({"extra": [node("Cast", to=TensorProto.INT64)]}, {}, r"cannot be read|returned torch.int64"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused_before_anything_is_lifted(tmp_path, changes, options, message):
    path = onnx_file(tmp_path / "model.onnx", **changes)
    with pytest.raises(BenchError, match=message) as caught:
        blackbox.load(path, "onnx", 17, **options)
    assert "model.onnx" in str(caught.value)


def test_an_even_window_has_no_centre(tmp_path):
    path = onnx_file(tmp_path / "model.onnx", ("batch", 8, 17, 2), only_frame(4))
    with pytest.raises(BenchError, match=r"targets 'centre' needs an odd number of frames"):
        blackbox.load(path, "onnx", 17, targets="centre")


def test_outputs_that_are_not_finite_are_refused(tmp_path):
    model = blackbox.load(onnx_file(tmp_path / "model.onnx", extra=[node("Sqrt")]), "onnx", 17)
    with pytest.raises(BenchError, match=r"model\.onnx returned numbers that are not finite"):
        predict(model, toy_dataset(), flip=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
@pytest.mark.parametrize("content", [b"", b"no model at all", b"PK\5\6" + bytes(18)])
def test_a_file_that_is_not_a_model_is_refused(tmp_path, kind, content):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(BenchError, match=r"model (is not|cannot be read|does not say|: )"):
        blackbox.load(tmp_path / "model", kind, 17)
    with pytest.raises(BenchError, match="nowhere not found"):
        blackbox.load(tmp_path / "nowhere", kind, 17)


def test_without_onnxruntime_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    path = onnx_file(tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BenchError, match=r"pip install 'onnxruntime>="):
        blackbox.load(path, "onnx", 17)


# TorchScript


class Pair(torch.nn.Module):
    def forward(self, x: torch.Tensor):
        return x, x


class OfTwo(torch.nn.Module):
    def forward(self, x: torch.Tensor):
        return torch.cat([x, x[..., :1]], -1).reshape(2, 9, 17, 3)


class Writes(torch.nn.Module):
    def forward(self, x: torch.Tensor):
        torch.save(x, "stolen.bin")
        return x


class Maps(torch.nn.Module):
    def forward(self, x: torch.Tensor):
        return x + torch.from_file("stolen.bin", True, 5).sum()


@pytest.mark.filterwarnings("ignore")  # TorchScript is on its way out
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Pair(), r"returned tuple; expected one array"),
        (torch.nn.Linear(3, 3), r"given keypoints of the shape \(2, 9, 17, 2\), failed: .*mat1 and mat2"),
        (torch.nn.Linear(2, 2), r"returned the shape \(2, 9, 17, 2\)"),
        (Writes(), r"was refused: its code calls save"),
        (Maps(), r"was refused: its code calls from_file"),
    ],
)
def test_a_torchscript_model_that_does_not_fit_is_refused(tmp_path, monkeypatch, module, message):
    monkeypatch.chdir(tmp_path)
    torch.jit.script(module).save("model.pt")
    with pytest.raises(BenchError, match=message):
        blackbox.load(Path("model.pt"), "torchscript", 17, frames=F)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_fails_on_later_windows_says_with_which(tmp_path):
    torch.jit.script(OfTwo()).save(tmp_path / "model.pt")
    model = blackbox.load(tmp_path / "model.pt", "torchscript", 17, frames=F)
    with pytest.raises(BenchError, match=r"given keypoints of the shape \(3, 9, 17, 2\), failed: .*invalid for input"):
        model.lift(torch.zeros(3, F, 17, 2))


@pytest.mark.filterwarnings("ignore")
def test_a_pickle_of_python_objects_in_a_torchscript_file_is_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "pwned",)

    torch.jit.script(torch.nn.Linear(2, 3)).save(tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(tmp_path / "bad.pt", "w") as bad:
        for member in good.namelist():
            content = good.read(member)
            bad.writestr(member, pickle.dumps(Hostile(), protocol=2) if member.endswith("data.pkl") else content)
    with pytest.raises(BenchError, match=r"bad\.pt cannot be read as a TorchScript model"):
        blackbox.load(tmp_path / "bad.pt", "torchscript", 17, frames=F)
    assert not (tmp_path / "pwned").exists()
