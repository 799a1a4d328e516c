"""Checkpoints: whole or not at all, never executed, and published ones fit exactly or are refused by name."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.mixste import UPSTREAM_NAMES
from bench import build, import_upstream
from bench.method import checkpoint
from bench.method.checkpoint import load, load_exactly, save, upstream_state
from bench.system.errors import BenchError, MissingDataError
from diff3dhpe.diffusion import Diffusion
from diff3dhpe.method import UPSTREAM_BUFFERS
from diff3dhpe.method import UPSTREAM_NAMES as DIFF3DHPE_NAMES

SIZES = {"frames": 9, "dim": 16, "depth": 2, "heads": 2}


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def upstream(module: torch.nn.Module, names: dict[str, str], prefix: str = "") -> dict[str, torch.Tensor]:
    """Our weights under their published names."""
    return {prefix + checkpoint._upstream_name(key, names): value for key, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def mixste():
    torch.manual_seed(0)
    return build("mixste", **SIZES).eval()


@pytest.fixture(scope="module")
def diff3dhpe():
    torch.manual_seed(0)
    return build("diff3dhpe", **SIZES).eval()


@pytest.fixture
def state(mixste):
    return upstream(mixste.network, UPSTREAM_NAMES)


@pytest.fixture
def diffusion_state(diff3dhpe):
    """All that the published wrapper stores: the denoiser, and numbers that follow from the schedule."""
    buffers = dict.fromkeys(UPSTREAM_BUFFERS, torch.zeros(1000)) | {"betas": Diffusion(1000, "cosine").betas}
    return buffers | upstream(diff3dhpe.denoiser, DIFF3DHPE_NAMES, "model.")


def junk(state: dict[str, Any]) -> dict[str, Any]:
    """What a profiler leaves in a state dict."""
    counters = ("total_ops", "total_params", "STEblocks.0.total_ops", "STEblocks.0.attn.total_params")
    return state | dict.fromkeys(counters, torch.zeros(1, dtype=torch.float64))


# Our own


def test_saved_weights_are_read_back(tmp_path: Path, mixste) -> None:
    content = {"method": mixste.state_dict(), "epoch": 3, "name": "mixste", "history": [{"loss": 0.5, "best": None}]}
    save(content, tmp_path / "runs" / "last.pt")
    back = load(tmp_path / "runs" / "last.pt")
    assert {key: back[key] for key in ("epoch", "name", "history")} == {
        key: content[key] for key in ("epoch", "name", "history")
    }
    assert all(torch.equal(back["method"][key], value) for key, value in mixste.state_dict().items())


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save({"epoch": 1}, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save({"epoch": 2, "function": lambda: None}, path)
    assert load(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path], "no unfinished file is left behind"


def test_a_hostile_checkpoint_is_refused_and_nothing_is_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.save({"model_pos": Hostile(f"touch {victim}")}, tmp_path / "hostile.pt")
    torch.save(Hostile(f"touch {victim}"), tmp_path / "older.pt", _use_new_zipfile_serialization=False)
    for name in ("hostile.pt", "older.pt"):
        for read in (load, lambda path: import_upstream("mixste", path)):
            with pytest.raises(BenchError, match=rf"{name} was refused: it wants to run \w+\.system.* do not trust"):
                read(tmp_path / name)
    assert not victim.exists()


def test_a_whole_module_is_not_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "module.pt")
    with pytest.raises(BenchError, match=r"wants to run torch\.nn\.modules\.linear\.Linear"):
        load(tmp_path / "module.pt")


@pytest.mark.parametrize("container", [torch.zeros(3), [1, 2]])
def test_a_checkpoint_is_a_dictionary(tmp_path: Path, container) -> None:
    torch.save(container, tmp_path / "other.pt")
    with pytest.raises(BenchError, match=r"holds a (Tensor|list), not a checkpoint"):
        load(tmp_path / "other.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("older", [True, False])
def test_a_damaged_checkpoint_is_refused_in_words(tmp_path: Path, mixste, older: bool) -> None:
    path = tmp_path / "damaged.pt"
    torch.save({"method": mixste.state_dict()}, path, _use_new_zipfile_serialization=not older)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    broken = [b"", b"hello", b"PK\x03\x04", pickle.dumps(3), pickle.dumps({"a": 1}, protocol=2)]
    broken += [whole[:length] for length in rng.integers(1, len(whole), 40)]
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(BenchError, match=r"damaged\.pt (is not a checkpoint, or is truncated|was refused|holds a)"):
            load(path)
    for _ in range(100):  # flipped bytes may go unnoticed, but never end in a traceback
        content = bytearray(whole)
        content[rng.integers(min(len(whole), 3000))] = rng.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(BenchError):
            load(path)


def test_a_checkpoint_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"none\.pt not found"):
        load(tmp_path / "none.pt")
    with pytest.raises(MissingDataError, match=r"none\.bin not found"):
        import_upstream("mixste", tmp_path / "none.bin")


# Published ones


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", [lambda value: value, lambda value: value.numpy()], ids=["tensors", "arrays"])
def test_a_published_state_dict_gives_the_same_network(mixste, state, prefix, form) -> None:
    imported = import_upstream("mixste", {prefix + key: form(value) for key, value in junk(state).items()}, heads=2)
    keypoints_2d = torch.randn(2, 9, 17, 2)
    assert torch.equal(imported.network(keypoints_2d), mixste.network(keypoints_2d))
    assert not imported.training


def test_sizes_come_from_the_tensors_and_the_rest_may_be_given(diffusion_state) -> None:
    imported = import_upstream("diff3dhpe", diffusion_state, heads=2, sampling_steps=3)
    assert imported.window.frames == 9
    assert len(imported.denoiser.encoder.spatial_blocks) == 2
    assert imported.denoiser.fusion.out_features == 16
    assert imported.denoiser.time is not None
    assert (imported.diffusion.schedule, imported.sampling_steps) == ("cosine", 3)
    without = {key: value for key, value in diffusion_state.items() if "time_mlp" not in key}
    assert import_upstream("diff3dhpe", without, heads=2).denoiser.time is None


@pytest.mark.parametrize("name", ["mixste", "diff3dhpe"])
@pytest.mark.parametrize("older", [True, False])
def test_a_file_as_published_is_read_without_unpickling_it(tmp_path: Path, request, name: str, older: bool) -> None:
    """DataParallel's prefix, a profiler's leftovers, a NumPy generator, an optimiser: as the papers' code writes it."""
    method = request.getfixturevalue(name)
    if name == "mixste":
        wrapped = {"model_pos": request.getfixturevalue("state")}
    else:
        wrapped = {"model_diffusion": request.getfixturevalue("diffusion_state")}
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    content = {
        "epoch": 119,
        "lr": np.float64(4e-5),
        "random_state": np.random.RandomState(1234),
        "optimizer": optimizer.state_dict(),
        **{key: {f"module.{name}": value for name, value in junk(state).items()} for key, state in wrapped.items()},
    }
    torch.save(content, tmp_path / "best_epoch.bin", _use_new_zipfile_serialization=not older)
    imported = import_upstream(name, tmp_path / "best_epoch.bin", heads=2)
    ours, theirs = method.state_dict(), imported.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_every_key_that_is_missing_or_not_expected_is_named_as_upstream_names_it(state) -> None:
    for key in ("Temporal_norm.bias", "STEblocks.1.attn.qkv.weight", "head.1.bias"):
        del state[key]
    state |= {"weighted_mean.weight": torch.zeros(1, 9, 1), "TTEblocks.0.extra": torch.zeros(3)}
    state["Spatial_patch_to_embedding.weight"] = torch.zeros(16, 3)
    with pytest.raises(BenchError) as caught:
        import_upstream("mixste", state, heads=2)
    message = str(caught.value)
    assert "missing: STEblocks.1.attn.qkv.weight, Temporal_norm.bias, head.1.bias" in message
    assert "not expected: TTEblocks.0.extra, weighted_mean.weight" in message
    assert "of another shape: Spatial_patch_to_embedding.weight is (16, 3), not (16, 2)" in message


def test_time_embeddings_are_named_as_upstream_names_them(diffusion_state) -> None:
    for key in ("model.time_mlp.3.bias", "model.STEblocks.1.time_mlp.1.weight"):
        del diffusion_state[key]
    with pytest.raises(BenchError, match=r"missing: STEblocks\.1\.time_mlp\.1\.weight, time_mlp\.3\.bias$"):
        import_upstream("diff3dhpe", diffusion_state, heads=2)


def test_two_keys_for_one_weight_are_refused(mixste, state) -> None:
    with pytest.raises(BenchError, match=r"not expected: norm\.weight$"):
        import_upstream("mixste", state | {"norm.weight": torch.zeros(16)}, heads=2)


def test_names_are_matched_from_the_start_or_inside() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False))
    load_exactly(module, {"old.inner.weight": torch.ones(1, 1)}, {"old.": "0.", ".inner.": "."})
    assert module[0].weight.item() == 1


def test_a_weight_that_upstream_stores_in_parts_is_put_together() -> None:
    module = torch.nn.ModuleDict({"qkv": torch.nn.Linear(2, 3, bias=False)})
    parts = {f"linears.{part}.weight": torch.full((1, 2), float(part)) for part in range(3)}
    names = {"linears.0.": "q.", "linears.1.": "k.", "linears.2.": "v."}
    stacked = {"qkv.": ("q.", "k.", "v.")}
    load_exactly(module, parts, names, stacked)
    assert module["qkv"].weight.tolist() == [[0, 0], [1, 1], [2, 2]]
    del parts["linears.1.weight"]
    with pytest.raises(BenchError, match=r"missing: linears\.1\.weight$"):
        load_exactly(module, parts, names, stacked)


@pytest.mark.parametrize(
    ("name", "source", "options", "expected"),
    [
        ("mixste", {}, {}, "the checkpoint holds no weights; keys found: none"),
        ("mixste", {"epoch": 3}, {}, "the checkpoint holds no weights; keys found: epoch"),
        ("mixste", {"a": torch.ones(1)}, {}, "mixste: the checkpoint lacks"),
        ("mixste", {"a": torch.ones(1), "epoch": 3}, {}, "epoch of the checkpoint is a int, not a tensor"),
        ("mean_pose", {"a": torch.ones(1)}, {}, "mean_pose: this method has no published checkpoints"),
        ("mixst", {"a": torch.ones(1)}, {}, "Did you mean 'mixste'"),
    ],
)
def test_what_cannot_be_imported_is_refused(name, source, options, expected) -> None:
    with pytest.raises(BenchError, match=expected):
        import_upstream(name, source, **options)


def test_hyperparameters_that_do_not_fit_are_refused(state, diffusion_state) -> None:
    with pytest.raises(BenchError, match="No hyper-parameter of mixste 'head'"):
        import_upstream("mixste", state, head=2)
    with pytest.raises(BenchError, match="mixste: dim 16 is not a multiple of heads 3"):
        import_upstream("mixste", state, heads=3)
    diffusion_state["betas"] = torch.linspace(0, 1, 1000)
    with pytest.raises(BenchError, match="betas are of no schedule known here"):
        import_upstream("diff3dhpe", diffusion_state, heads=2)


def test_a_state_is_given_without_prefixes_and_leftovers(state) -> None:
    wrapped = {"model_pos": {f"module.{key}": value for key, value in junk(state).items()}, "epoch": 3}
    assert upstream_state(wrapped).keys() == state.keys()
