"""`bench import`: files as each paper's code writes them become ours and predict the same, or are refused."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench import Method, Window, import_upstream, load_weights, register
from bench.cli import main
from bench.config import load_benchmark
from bench.data import dataset_named, datasets
from bench.geometry.skeleton import Skeleton
from bench.method import registry
from bench.method.weights import Origin, Weights, benchmark_path, default_path, fitting_benchmarks, save_weights
from bench.system import paths
from bench.system.errors import BenchError, MissingDataError

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"

# Published files, as the code of each paper writes them


class RandomState2018:
    """Pickled as NumPy's generator was before 1.17: a function of `numpy.random`, a tuple as its state."""

    def __reduce__(self):
        return getattr(np.random, "__RandomState_ctor"), (), np.random.RandomState(1234).get_state()


class RandomState2021:
    """Pickled as from NumPy 1.17 to 1.23: by the name of the bit generator."""

    def __reduce__(self):
        state = np.random.RandomState(1234).get_state(legacy=False)
        return np.random._pickle.__dict__["__randomstate_ctor"], ("MT19937",), state


@dataclass(frozen=True)
class Published:
    """One kind of published file.

    state: golden weights. prefix: before each key. wrapper: what holds them, beside `others`; none: they are the file.
    year: how old torch and NumPy were. options: of the command. predicts: (method, golden) to (found, expected).
    """

    method: str
    golden: str
    wrapper: str | None
    prefix: str
    year: int
    options: tuple[str, ...] = ()
    predicts: Callable[[Method, Mapping[str, np.ndarray]], tuple[Tensor, np.ndarray]] | None = None


def _lifts(method: Method, stored: Mapping[str, np.ndarray]) -> tuple[Tensor, np.ndarray]:
    return method.lift(torch.from_numpy(stored["in/x"])), stored["out/y"]


def _lifts_one_window(method: Method, stored: Mapping[str, np.ndarray]) -> tuple[Tensor, np.ndarray]:
    return method.lift(torch.from_numpy(stored["in/x"][:, : method.window.frames])), stored["out/y_opt1f"]


def _lifts_all_frames(method: Method, stored: Mapping[str, np.ndarray]) -> tuple[Tensor, np.ndarray]:
    return method.lift(torch.from_numpy(stored["in/pose2d"])), stored["out/pred"]


def _lifts_channels_first(method: Method, stored: Mapping[str, np.ndarray]) -> tuple[Tensor, np.ndarray]:
    keypoints_2d = torch.from_numpy(stored["in/x"])[..., 0].movedim(1, -1)  # (batch, 2, frames, joints, 1)
    return method.lift(keypoints_2d.contiguous()), np.moveaxis(stored["out/single"][..., 0], 1, -1)


def _denoises(method: Method, stored: Mapping[str, np.ndarray]) -> tuple[Tensor, np.ndarray]:
    inputs = (torch.from_numpy(stored[f"in/{part}"]) for part in ("pose2d", "noisy3d", "t"))
    return method.denoiser(*inputs), stored["out/pred"]


PUBLISHED = (
    Published("mixste", "mixste", "model_pos", "module.", 2021, predicts=_lifts_all_frames),
    Published("diff3dhpe", "diff3dhpe_s2s", "model_diffusion", "module.model.", 2023, predicts=_denoises),
    Published("diff3dhpe", "diff3dhpe_s2s_notime", "model_diffusion", "model.", 2023, predicts=_denoises),
    Published("diff3dhpe", "diff3dhpe_s2f", "model_diffusion", "module.model.", 2023, predicts=_denoises),
    Published("poseformer", "poseformer", "model_pos", "module.", 2021, ("heads=4",), _lifts),
    Published("videopose3d", "videopose3d", "model_pos", "", 2018, (), _lifts_one_window),
    Published("pstmo", "pstmo", None, "module.", 2021, ("strides=[3, 1, 3, 3]",), _lifts_channels_first),
    Published("pstmo-pretrain", "pstmo_pretrain", None, "module.", 2021),
)


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def state_of(published: Published) -> dict[str, Tensor]:
    """Golden weights under the keys of the file, with what the published code stores beside them."""
    state = {
        published.prefix + key.removeprefix("state/"): torch.from_numpy(value)
        for key, value in golden(published.golden).items()
        if key.startswith("state/")
    }
    if published.method == "diff3dhpe":
        schedule = {
            key.rpartition("/")[2]: torch.from_numpy(value)
            for key, value in golden("diffusion_schedules").items()
            if key.startswith("out/cosine_T1000/") and not key.endswith("loss_coef")
        }
        outer = published.prefix.removesuffix("model.")
        state |= {outer + key: value for key, value in schedule.items()}
    return state


def profiled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With what thop leaves at every level of the network."""
    levels = {key.rpartition(".")[0].rsplit(".", depth)[0] for key in state for depth in range(6)} | {"module", ""}
    counters = [f"{level}.{kind}".lstrip(".") for level in sorted(levels) for kind in ("total_ops", "total_params")]
    return {**state, **{counter: torch.zeros(1, dtype=torch.float64) for counter in counters}}


def content_of(published: Published, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """All that is in the file."""
    if published.wrapper is None:
        return dict(state)
    trained = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=4e-5)
    trained(torch.ones(2)).sum().backward()
    optimizer.step()
    generator = {2018: RandomState2018(), 2021: RandomState2021(), 2023: np.random.RandomState(1234)}[published.year]
    content = {
        "epoch": 39,
        "lr": 3.7e-5,
        "random_state": generator,
        "optimizer": optimizer.state_dict(),
        published.wrapper: dict(state),
    }
    if published.method == "diff3dhpe":
        content |= {"best_epoch": 30, "min_loss": np.float64(49.8), "min_train_loss": 0}
    if published.method == "videopose3d":
        content |= {"model_traj": trained.state_dict(), "random_state_semi": None}
    return content


def write(content: Mapping[str, Any], path: Path, year: int = 2023) -> Path:
    """As torch and NumPy of that year wrote it: no archive before torch 1.6, `numpy.core` before NumPy 2."""
    torch.save(dict(content), path, _use_new_zipfile_serialization=year >= 2020)
    modules = (b"numpy._core.", b"numpy.core.") if year < 2024 else (b"", b"")
    if year < 2020:
        path.write_bytes(path.read_bytes().replace(*modules))
    else:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data.replace(*modules) if name.endswith("data.pkl") else data)
    return path


MIXSTE = PUBLISHED[0]


def mixste_file(folder: Path, name: str = "best_epoch.bin", **changes: Tensor | None) -> Path:
    """A published MixSTE (9 frames, 17 joints); `changes` by key, None removes it."""
    state = {**state_of(MIXSTE), **{f"module.{key.replace('__', '.')}": value for key, value in changes.items()}}
    kept = {key: value for key, value in state.items() if value is not None}
    return write(content_of(MIXSTE, profiled(kept)), folder / name, MIXSTE.year)


# The command


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Commands run in an empty folder; what they import for a benchmark goes to `checkpoints/` in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return tmp_path


@pytest.fixture
def done(capsys) -> Callable[..., str]:
    """Runs `bench import ...`, which must work, and returns what it printed."""

    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["import", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert (caught.value.code, err) == (0, "")
        return out

    return call


@pytest.fixture
def refused(capsys, here) -> Callable[..., str]:
    """Runs `bench import ...`, which must end with one message and leave every file as it was; returns the message."""

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}

    def call(*arguments: object) -> str:
        before = files()
        with pytest.raises(SystemExit) as caught:
            main(["import", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert caught.value.code == 2
        assert out == ""
        assert err.startswith("bench: ")
        assert err.count("\n") == 1, "one message of one line"
        assert files() == before
        return err.removeprefix("bench: ").strip()

    return call


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda one: one.golden)
def test_a_published_file_predicts_the_same_after_import(here, done, published) -> None:
    state = state_of(published)
    file = write(content_of(published, profiled(state)), here / "published.bin", published.year)
    options = [word for option in published.options for word in ("--set", option)]
    shown = done(published.method, file, *options)
    written = here / "checkpoints" / f"{published.method}-published.safetensors"
    assert re.search(rf"^  written     {re.escape(paths.shown(written))}$", shown, re.MULTILINE)

    method = load_weights(written).build()
    assert not method.training
    if published.predicts is not None:
        found, expected = published.predicts(method, golden(published.golden))
        tolerance = 1e-4 * max(1, abs(expected).max())
        np.testing.assert_allclose(found.detach(), expected, atol=tolerance, rtol=0)
    ours = b"".join(value.detach().numpy().tobytes() for value in method.state_dict().values())  # some are stacked
    network = {key: value for key, value in state.items() if published.method != "diff3dhpe" or "model." in key}
    assert [key for key, value in network.items() if value.numpy().tobytes() not in ours] == [], "every bit arrives"


def test_the_command_says_what_it_read(here, done) -> None:
    file = mixste_file(here)
    shown = done("mixste", file, "--set", "drop_path=1e-1")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    numbers = sum(value.numel() for value in import_state().values())
    assert shown == (
        "mixste from best_epoch.bin\n"
        f"  sizes       9 frames, 17 joints, {numbers:,} parameters\n"
        "  model       depth 2, dim 32, drop_path 0.1, heads 8, mlp_ratio 2.0\n"
        f"  origin      SHA-256 {digest}\n"
        "  written     checkpoints/mixste-best_epoch.safetensors\n"
        "  evaluate    no benchmark in configs/ is of this size; bench.load_weights reads the file in Python\n"
    )


def test_the_header_says_what_to_build_in_plain_json(here, done) -> None:
    file = mixste_file(here)
    done("mixste", file, "-o", "mine.safetensors", "--set", "heads=4")
    with safetensors.safe_open(here / "mine.safetensors", "pt") as stored:
        assert stored.metadata().keys() == {"bench"}
        header = json.loads(stored.metadata()["bench"])
        assert set(stored.keys()) == {key.removeprefix("module.") for key in state_of(MIXSTE)}
    assert header == {
        "schema": 1,
        "method": "mixste",
        "frames": 9,
        "joints": 17,
        "hyperparameters": {"dim": 32, "depth": 2, "heads": 4, "mlp_ratio": 2.0},
        "origin": {"file": "best_epoch.bin", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
    }
    assert list(here.glob("*.safetensors")) == [here / "mine.safetensors"]
    assert not (here / "checkpoints").exists()


def test_two_imports_in_two_processes_give_the_same_bytes(here, done) -> None:
    file = mixste_file(here)
    done("mixste", file, "-o", "first.safetensors")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    process = subprocess.run(
        [sys.executable, "-m", "bench.cli", "import", "mixste", file.name, "-o", "second.safetensors"],
        cwd=here, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("mixste from best_epoch.bin\n")
    assert (here / "first.safetensors").read_bytes() == (here / "second.safetensors").read_bytes()
    expected = golden("mixste")
    found = load_weights("second.safetensors").build().lift(torch.from_numpy(expected["in/pose2d"]))
    np.testing.assert_allclose(found.detach(), expected["out/pred"], atol=1e-5)


def test_importing_leaves_the_random_numbers_alone(here) -> None:
    weights = Weights("mixste", 9, 17, {"dim": 32, "depth": 2}, ORIGIN, import_state())
    state = torch.get_rng_state()
    weights.build()
    assert torch.equal(torch.get_rng_state(), state)


# For a benchmark

NINE = """
title: Nine frames
protocol: {dataset: h36m, keypoints: cpn, frames: 9, train_subjects: [S1], test_subjects: [S9]}
methods: {mixste: {}}
"""


def test_weights_for_a_benchmark_are_written_where_it_looks(here, done) -> None:
    (here / "nine.yaml").write_text(NINE)
    shown = done("mixste", mixste_file(here), "--for", "nine.yaml")
    assert shown.endswith(
        "  written     checkpoints/nine/mixste.safetensors\n  evaluate    bench run nine.yaml --methods mixste\n"
    )
    path = benchmark_path("nine", "mixste")
    assert path == here / "checkpoints" / "nine" / "mixste.safetensors"
    assert load_weights(path).entry(load_benchmark(here / "nine.yaml")) == "mixste"
    assert benchmark_path("nine", "mixste", "first") == path.with_name("mixste-first.safetensors")


def test_imported_weights_print_the_command_for_each_fitting_benchmark(here, done, monkeypatch) -> None:
    (here / "nine.yaml").write_text(NINE)
    monkeypatch.setattr("bench.method.weights.benchmark_names", lambda: ["nine.yaml"])
    shown = done("mixste", mixste_file(here), "-o", "mine.safetensors")
    assert shown.endswith("  evaluate    bench run nine.yaml --methods mixste --weights mixste=mine.safetensors\n")


def test_a_wrong_name_is_reported_before_the_file_is_read(here, refused) -> None:
    (here / "notes.md").write_text("# no checkpoint")
    assert refused("pstmo-pretrian", here / "notes.md").startswith("No stage of pstmo 'pretrian'. Did you mean")
    assert refused("mixst", here / "notes.md").startswith("No method 'mixst'. Did you mean 'mixste'")
    assert "is a folder, not a checkpoint" in refused("mixste", here)


def test_weights_are_for_the_entry_of_their_method_and_size(here, done) -> None:
    entries = "{mean_pose: {}, long: {method: mixste, frames: 27}, short: {method: mixste}, same: {method: mixste}}"
    (here / "nine.yaml").write_text(NINE.replace("{mixste: {}}", entries))
    shown = done("mixste", mixste_file(here), "--for", "nine.yaml")
    assert "checkpoints/nine/short.safetensors\n  evaluate    bench run nine.yaml --methods short\n" in shown


def test_weights_of_another_size_or_method_are_not_for_the_benchmark(here, refused) -> None:
    for name, change in {"long": ("frames: 9", "frames: 27"), "other": ("mixste: {}", "mean_pose: {}")}.items():
        (here / f"{name}.yaml").write_text(NINE.replace(*change))
    file = mixste_file(here)
    assert refused("mixste", file, "--for", "long.yaml") == (
        "best_epoch.bin lifts 9 frames of 17 joints, long wants 27 frames of 17 joints; "
        "import it for a benchmark of its own size"
    )
    fewer = mixste_file(here, "fewer.bin", Spatial_pos_embed=torch.zeros(1, 16, 32))
    assert "lifts 9 frames of 16 joints, long wants 27 frames of 17 joints" in refused(
        "mixste", fewer, "--for", "long.yaml"
    )
    assert "No method of other 'mixste'" in refused("mixste", file, "--for", "other.yaml")
    assert "No benchmark 'h36m-cpn-24'. Did you mean 'h36m-cpn-243'?" in refused("mixste", file, "--for", "h36m-cpn-24")


def test_the_benchmarks_of_a_published_size_are_named(here) -> None:
    weights = Weights("mixste", 243, 17, {}, ORIGIN, {})
    assert {"h36m-cpn-243", "h36m-gt-243"} <= set(fitting_benchmarks(weights))
    assert not {"h36m-cpn-81", "cmu-gt-27"} & set(fitting_benchmarks(weights))


@pytest.mark.parametrize("dataset", datasets())
def test_the_joints_of_every_data_set_are_known_without_reading_it(dataset) -> None:
    assert isinstance(dataset_named(dataset).skeleton, Skeleton)


# Files that are there


def test_a_different_file_is_kept_and_an_equal_one_is_no_error(here, done, refused) -> None:
    done("mixste", mixste_file(here), "-o", "mine.safetensors")
    path = here / "mine.safetensors"
    first, when = path.read_bytes(), path.stat().st_mtime_ns
    done("mixste", here / "best_epoch.bin", "-o", path)
    assert path.stat().st_mtime_ns == when, "nothing to write"

    other = mixste_file(here, "other.bin", head__1__bias=torch.ones(3))
    message = refused("mixste", other, "-o", path)
    assert message == "mine.safetensors is there already and holds other weights; choose another name, or --force"
    done("mixste", other, "-o", path, "--force")
    assert path.read_bytes() != first
    assert load_weights(path).origin.file == "other.bin"


def test_an_unwritable_folder_is_reported(here, refused) -> None:
    file = mixste_file(here)
    assert "mine.pt would hold safetensors: give it a name that ends in" in refused("mixste", file, "-o", "mine.pt")
    (here / "folder.safetensors").mkdir()
    for wrong in ("folder.safetensors", "best_epoch.bin/mine.safetensors"):
        assert f"{wrong} cannot be written: " in refused("mixste", file, "-o", wrong)


def test_imported_weights_are_kept_in_the_project(monkeypatch) -> None:
    monkeypatch.delenv("BENCH_CHECKPOINTS")
    assert default_path("mixste", Path("a/best.bin")) == REPOSITORY / "checkpoints" / "mixste-best.safetensors"
    assert "/checkpoints/" in (REPOSITORY / ".gitignore").read_text().splitlines()


# What cannot be imported


def test_every_key_is_accounted_for(here, refused) -> None:
    missing = mixste_file(here, "missing.bin", TTEblocks__1__attn__qkv__weight=None)
    assert refused("mixste", missing).endswith("missing: TTEblocks.1.attn.qkv.weight")
    extra = mixste_file(here, "extra.bin", head__2__weight=torch.ones(3))
    assert refused("mixste", extra).endswith("not expected: head.2.weight")
    reshaped = mixste_file(here, "reshaped.bin", head__1__weight=torch.ones(3, 31))
    assert refused("mixste", reshaped).endswith("of another shape: head.1.weight is (3, 31), not (3, 32)")
    assert "missing.bin: the checkpoint does not fit MixSTENetwork; " in refused("mixste", missing)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"epoch": 3, "optimizer": {}}, "odd.bin holds no weights; keys found: epoch, optimizer"),
        ({}, "odd.bin holds no weights; keys found: none"),
        ({"model_pos": {}, "epoch": 3}, "odd.bin holds no weights; keys found: none"),
        ({"model_pos": None, "epoch": 3}, "odd.bin holds no weights; keys found: model_pos, epoch"),
        ({"module.a": torch.ones(1), "a": torch.ones(1)}, "holds a twice, with and without module."),
        ({"a": torch.ones(1), "epoch": 3}, "epoch of the checkpoint is a int, not a tensor"),
    ],
)
def test_files_without_weights_are_refused(here, refused, content, expected) -> None:
    torch.save(content, here / "odd.bin")
    assert expected in refused("mixste", "odd.bin")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_message_advises_loading_a_file_unsafely(here, refused) -> None:
    (here / "plain.pkl").write_bytes(pickle.dumps({"epoch": 3}, protocol=4))
    message = refused("mixste", "plain.pkl")
    assert "plain.pkl is not a checkpoint, or is truncated" in message
    assert "weights_only" not in message


def test_a_weight_that_is_there_twice_is_refused() -> None:
    state = state_of(PUBLISHED[1])
    with pytest.raises(BenchError, match=r"holds head\.1\.bias twice, with and without model\."):
        import_upstream("diff3dhpe", state | {"module.head.1.bias": torch.zeros(3)})


def test_names_and_hyperparameters_that_are_not_known_are_answered_with_those_that_are(here, refused) -> None:
    file = mixste_file(here)
    assert "No method 'mixst'. Did you mean 'mixste'?" in refused("mixst", file)
    assert "No stage of mixste 'pretrain'. Known: none" in refused("mixste-pretrain", file)
    assert "No hyper-parameter of mixste 'head'. Did you mean 'heads'?" in refused("mixste", file, "--set", "head=2")
    assert "mixste: dim 32 is not a multiple of heads 3" in refused("mixste", file, "--set", "heads=3")
    assert "'heads' is not of the form key=value, like heads=8" in refused("mixste", file, "--set", "heads")
    assert "hyper-parameters must be what JSON can hold" in refused(
        "mixste", file, "--set", "square_loss_gradient=2020-01-01"
    )
    assert "mean_pose: this method has no published checkpoints" in refused("mean_pose", file)
    assert "mixste: the checkpoint lacks STEblocks.0.mlp.fc1.weight" in refused("mixste", diffusion_file(here))


def test_other_files_are_not_checkpoints(here, done, refused) -> None:
    assert "none.bin not found: no checkpoint there" in refused("mixste", "none.bin")
    (here / "text.bin").write_text("weights")
    assert "text.bin is not a checkpoint, or is truncated" in refused("mixste", "text.bin")
    whole = mixste_file(here).read_bytes()
    (here / "cut.bin").write_bytes(whole[: len(whole) // 2])
    assert "cut.bin is not a checkpoint, or is truncated" in refused("mixste", "cut.bin")
    done("mixste", "best_epoch.bin", "-o", "mine.safetensors")
    assert "mine.safetensors is not a checkpoint of published code" in refused("mixste", "mine.safetensors")


class Hostile:
    """Calls something when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class HostileRandomState(Hostile):
    """NumPy's generator, with the call among its arguments."""

    def __reduce__(self):
        function, arguments = self.call
        return np.random._pickle.__dict__["__randomstate_ctor"], (Hostile(function, *arguments),)


@pytest.mark.parametrize("kind", [Hostile, HostileRandomState])
@pytest.mark.parametrize("form", ["archive", "older", "plain pickle"])
@pytest.mark.parametrize("function", [os.system, builtins.eval], ids=lambda one: one.__name__)
def test_a_hostile_file_is_refused_and_nothing_is_run(here, refused, kind, form, function) -> None:
    victim = here / "victim"
    call = f"touch {victim}" if function is os.system else f"open({str(victim)!r}, 'w').close()"
    content = content_of(MIXSTE, state_of(MIXSTE)) | {"random_state": kind(function, call)}
    if form == "plain pickle":
        (here / "hostile.bin").write_bytes(pickle.dumps(content["random_state"], protocol=2))
    else:
        torch.save(content, here / "hostile.bin", _use_new_zipfile_serialization=form == "archive")
    message = refused("mixste", "hostile.bin")
    assert re.match(
        rf"hostile\.bin was refused: it wants to run (\w+\.)?{function.__name__}\. .* do not trust", message
    )
    assert not victim.exists()
    with contextlib.suppress(Exception):
        if form == "plain pickle":
            pickle.loads((here / "hostile.bin").read_bytes())
        else:
            torch.load(here / "hostile.bin", weights_only=False)
    assert victim.exists(), "the file is hostile indeed"


# The file, without the command

ORIGIN = Origin(file="best_epoch.bin", sha256="0" * 64)


def import_state() -> dict[str, Tensor]:
    return {key.removeprefix("module."): value for key, value in state_of(MIXSTE).items()}


def mixste_weights(**hyperparameters: Any) -> Weights:
    return Weights("mixste", 9, 17, {"dim": 32, "depth": 2, **hyperparameters}, ORIGIN, import_state())


class Anything(Method):
    """Takes any hyper-parameter."""

    name = "anything"

    def __init__(self, frames: int, joints: int, **hyperparameters: Any) -> None:
        super().__init__()
        self.window = Window(frames)
        self.hyperparameters = hyperparameters

    def load_upstream(self, state: Mapping[str, Tensor]) -> None:
        self.tensors = dict(state)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.text(min_size=1).filter(lambda name: name not in ("frames", "joints", "self"))


@settings(max_examples=40)
@given(st.dictionaries(names, plain, max_size=5), st.integers(1, 999), st.integers(1, 99), st.data())
def test_saved_weights_are_read_back(tmp_path_factory, hyperparameters, frames, joints, data) -> None:
    shape = data.draw(st.lists(st.integers(0, 4), max_size=3))
    dtype = data.draw(st.sampled_from([torch.float32, torch.int64, torch.bfloat16, torch.bool]))
    tensors = {"a.weight": torch.ones(shape).to(dtype), "b": torch.arange(6).reshape(2, 3).T}
    path = tmp_path_factory.mktemp("weights") / "any.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_registered", {})
        register(Anything)
        weights = Weights("anything", frames, joints, hyperparameters, ORIGIN, tensors)
        save_weights(weights, path)
        first = path.read_bytes()
        back = load_weights(path)
        save_weights(back, path, force=True)
        built = back.build(frames=frames + 1)
    assert path.read_bytes() == first
    assert (back.method, back.frames, back.joints) == ("anything", frames, joints)
    assert (back.hyperparameters, back.origin) == (hyperparameters, ORIGIN)
    assert back.tensors.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert back.tensors[key].dtype == tensor.dtype
        assert torch.equal(back.tensors[key], tensor)
    assert (built.window.frames, built.hyperparameters) == (frames + 1, hyperparameters)


@settings(max_examples=8)
@given(
    heads=st.sampled_from([1, 2, 4, 8, 16, 32]),
    drop_path=st.floats(0, 1, exclude_max=True),
    square=st.booleans(),
)
def test_hyperparameters_shape_the_method_that_is_built(tmp_path_factory, heads, drop_path, square) -> None:
    given = {"heads": heads, "drop_path": drop_path, "square_loss_gradient": square}
    path = tmp_path_factory.mktemp("weights") / "any.safetensors"
    save_weights(mixste_weights(**given), path)
    method, other = load_weights(path).build(), load_weights(path).build(heads=1)
    block = method.network.encoder.spatial_blocks[-1]
    assert (block.attn.heads, block.drop_path.rate, method.square_loss_gradient) == (heads, drop_path, square)
    keypoints_2d = torch.ones(1, 9, 17, 2).cumsum(1)
    expected = import_upstream("mixste", import_state(), **given).lift(keypoints_2d)
    assert torch.equal(method.lift(keypoints_2d), expected)
    assert other.network.encoder.spatial_blocks[-1].attn.heads == 1


def test_a_statistic_that_was_not_published_is_not_in_the_file(here, done) -> None:
    diffusion_file(here)
    done("diff3dhpe", "diffusion.bin", "-o", "mine.safetensors")
    weights = load_weights("mine.safetensors")
    assert weights.hyperparameters["scale_over"] == "everything"
    assert weights.hyperparameters["schedule"] == "cosine"
    method = weights.build(pose_scale=2.5, sampling_steps=3)
    assert method.get_buffer("pose_scale") == 2.5
    assert (method.sampling_steps, method.prepares_on) == (3, "everything")


def diffusion_file(folder: Path) -> Path:
    published = PUBLISHED[1]
    return write(content_of(published, state_of(published)), folder / "diffusion.bin", published.year)


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A weights file whose header was changed."""
    header = {
        "schema": 1, "method": "mixste", "frames": 9, "joints": 17,
        "hyperparameters": {"dim": 32, "depth": 2}, "origin": ORIGIN.model_dump(),
    }  # fmt: skip
    change(header)
    safetensors.torch.save_file(import_state(), path, metadata={"bench": json.dumps(header)})
    return path


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda header: header.update(schema=2), r"schema: Input should be 1, found 2"),
        (lambda header: header.pop("frames"), r"frames: Field required"),
        (lambda header: header.update(frames="9"), r"frames: Input should be a valid integer"),
        (lambda header: header.update(frames=27), r"of another shape: Temporal_pos_embed is \(1, 9, 32\), not \(1, 27"),
        (lambda header: header.update(method="mixst"), r"No method 'mixst'\. Did you mean 'mixste'"),
        (lambda header: header.update(method="../up"), r"method: String should match pattern"),
        (lambda header: header.update(method="mixste-pretrain"), r"No stage of mixste 'pretrain'"),
        (lambda header: header.update(hyperparameters=[]), r"hyperparameters: Input should be a valid dictionary"),
        (
            lambda header: header["hyperparameters"].update(depth=3),
            r"does not fit MixSTENetwork; missing: STEblocks\.2",
        ),
        (lambda header: header["hyperparameters"].update(head=2), r"No hyper-parameter of mixste 'head'"),
        (lambda header: header["origin"].update(sha256="x"), r"origin\.sha256: String should match pattern"),
        (lambda header: header.update(created="today"), r"created: Extra inputs are not permitted"),
    ],
)
def test_a_header_that_does_not_say_what_to_build_is_refused(here, change, expected) -> None:
    path = rewritten(here / "mine.safetensors", change)
    with pytest.raises(BenchError, match=rf"^mine\.safetensors: .*{expected}.*bench import.*again$"):
        load_weights(path)


def test_files_that_are_not_weights_files_are_refused(here) -> None:
    path = here / "mine.safetensors"
    with pytest.raises(MissingDataError, match=r"mine\.safetensors not found"):
        load_weights(path)
    save_weights(mixste_weights(), path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for content in [b"", b"hello, these are weights", *(whole[: rng.integers(1, len(whole))] for _ in range(20))]:
        path.write_bytes(content)
        with pytest.raises(BenchError, match=r"mine\.safetensors is not a safetensors file, or is truncated"):
            load_weights(path)
    mixste_file(here, "mine.safetensors")
    with pytest.raises(BenchError, match="is not a safetensors file"):
        load_weights(path)
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"a": torch.ones(1)}, path, metadata=metadata)
        with pytest.raises(BenchError, match="is a safetensors file of another tool"):
            load_weights(path)
    for header in ("{", "[]", "null"):
        safetensors.torch.save_file({"a": torch.ones(1)}, path, metadata={"bench": header})
        with pytest.raises(BenchError, match=r"mine\.safetensors: (its header is not JSON|header: )"):
            load_weights(path)


def test_tensors_that_share_storage_are_written_separately(here) -> None:
    state = import_state()
    both = torch.stack([state["head.0.weight"], state["head.0.bias"]], dim=1)
    state |= {"head.0.weight": both[:, 0], "head.0.bias": both[:, 1]}
    save_weights(Weights("mixste", 9, 17, {"dim": 32, "depth": 2}, ORIGIN, state), here / "mine.safetensors")
    assert torch.equal(load_weights(here / "mine.safetensors").tensors["head.0.bias"], both[:, 1])


def test_a_write_that_fails_leaves_the_old_file_whole(here, monkeypatch) -> None:
    path = here / "mine.safetensors"
    save_weights(mixste_weights(), path)
    whole = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BenchError, match=r"mine\.safetensors cannot be written: No space left on device"):
        save_weights(mixste_weights(heads=4), path, force=True)
    assert path.read_bytes() == whole
    assert list(here.iterdir()) == [path]
