"""The self-test of a machine: what passes, what must fail, and what is shown of it."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench.cli import main
from bench.method import Batch, Method, Window, registry
from bench.method.registry import register
from bench.runs import selftest as package
from bench.runs.selftest import checks, selftest
from bench.runs.selftest.outcome import TOLERANCES, WIDTH, Outcome
from bench.system.progress import silence


class Honest(Method):
    """One linear map."""

    name = "honest"

    def __init__(self, frames: int = 27, joints: int = 17, *, dim: int = 8) -> None:
        super().__init__()
        self.window = Window(frames)
        self.map = nn.Sequential(nn.Linear(2, dim), nn.Linear(dim, 3))

    def lift(self, keypoints_2d, *, generator=None):
        return self.map(keypoints_2d)

    def loss(self, batch: Batch, generator=None):
        return {"total": (self.lift(batch.keypoints_2d) - batch.poses_3d).norm(dim=-1).mean()}


class Wrong(Honest):
    """Lifts half a percent too far on more than one thread, as a device with a broken kernel would."""

    name = "wrong"

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d) * (1.005 if torch.get_num_threads() > 1 else 1.0)


class WrongGradient(Honest):
    """Right in the forward pass; its gradient is half a percent too large on more than one thread."""

    name = "wrong-gradient"

    def loss(self, batch: Batch, generator=None):
        total = super().loss(batch)["total"]
        far = 1.005 if torch.get_num_threads() > 1 else 1.0
        return {"total": total.detach() + far * (total - total.detach())}


class Split(Honest):
    """Says that the losses of parts of a batch add up, which they do not: each is a mean over its part."""

    name = "split"
    parts_add_up = True


class Forgetful(Honest):
    """Counts its steps outside of its state: training that is resumed goes on otherwise."""

    name = "forgetful"

    def __init__(self, frames: int = 27, joints: int = 17) -> None:
        super().__init__(frames, joints)
        self.steps = 0

    def loss(self, batch: Batch, generator=None):
        self.steps += 1
        return {"total": super().loss(batch)["total"] * (1 + self.steps) + self.map[0].weight.norm() * self.steps}


class Unfinite(Honest):
    """Poses that are not numbers."""

    name = "unfinite"

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d) * float("nan")


class Crashing(Honest):
    """Raises an error that names a folder of this machine."""

    name = "crashing"

    def lift(self, keypoints_2d, *, generator=None):
        raise RuntimeError("no kernel in /home/somebody/kernels")


class Unbuildable(Honest):
    """Cannot be built at all."""

    name = "unbuildable-and-with-a-long-name"

    def __init__(self, frames: int = 27, joints: int = 17) -> None:
        raise ImportError("it needs another package")


EVERY = (Honest, Wrong, WrongGradient, Split, Forgetful, Unfinite, Crashing, Unbuildable)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """These methods stand beside ours, as a stranger's would, until the end of a test."""
    monkeypatch.setattr(registry, "_registered", {})
    for cls in EVERY:
        register(cls)


def outcome_of(*names: str, **options: bool) -> Outcome:
    with silence():
        return selftest("cpu", names, **options)


def verdicts(outcome: Outcome, method: str | None) -> dict[str, str]:
    return {one.name: one.verdict for one in outcome.checks if one.method == method}


def test_a_method_that_computes_the_same_passes():
    outcome = outcome_of("honest")
    found = verdicts(outcome, "honest")
    assert {name for name, verdict in found.items() if verdict == "passed"} == {
        "forward", "loss", "gradients", "epoch", "evaluate", "resume", "bf16",
    }  # fmt: skip
    assert found["TF32"] == found["compile"] == found["parts"] == "skipped"
    assert verdicts(outcome, None) == {"products": "passed", "TF32 products": "skipped"}
    assert outcome.passed
    (speed,) = outcome.speeds
    assert speed.lifted_frames_per_second > 0
    assert speed.trained_frames_per_second > 0


@pytest.mark.parametrize(
    ("method", "failing"),
    [
        ("wrong", {"forward", "loss", "gradients", "evaluate"}),
        ("wrong-gradient", {"gradients"}),
        ("split", {"parts"}),
        ("forgetful", {"resume"}),
        ("unfinite", {"forward", "loss", "gradients", "epoch", "evaluate", "resume", "bf16"}),
    ],
)
def test_what_is_computed_otherwise_fails(method, failing):
    outcome = outcome_of(method)
    found = {name for name, verdict in verdicts(outcome, method).items() if verdict == "failed"}
    assert found - {"speed"} >= failing
    assert not outcome.passed
    if method in ("wrong-gradient", "split", "forgetful"):
        assert not found & {"forward", "evaluate"}


def test_a_method_that_crashes_stops_no_other():
    outcome = outcome_of("crashing", "honest", "unbuildable-and-with-a-long-name")
    assert verdicts(outcome, "crashing")["forward"] == "failed"
    assert verdicts(outcome, "unbuildable-and-with-a-long-name")["forward"] == "failed"
    assert verdicts(outcome, "honest")["resume"] == "passed"
    notes = {one.note for one in outcome.checks if one.method == "crashing" and one.verdict == "failed"}
    assert "RuntimeError" in notes, "an error whose message names a path is shown without it"
    assert "somebody" not in outcome.json_text() + outcome.text()
    assert "it needs another package" in outcome.text()


def test_every_registered_method_is_tested(monkeypatch):
    monkeypatch.setattr(checks, "OF_A_METHOD", {})
    monkeypatch.setattr(checks, "speed", lambda subject: spoken.append(subject.name))
    spoken: list[str] = []
    monkeypatch.setattr(package, "Outcome", dict)
    outcome_of()
    assert spoken == registry.methods()
    assert {"honest", "mixste", "mean_pose"} <= set(spoken)


def test_tables_fit_a_terminal():
    lines = outcome_of("crashing", "honest", "unbuildable-and-with-a-long-name").text().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert any(line.startswith("FAILED unbuildable-and-with-a-long-name: ") for line in lines)


def test_the_json_is_the_outcome(tmp_path, capsys):
    file = tmp_path / "selftest.json"
    with pytest.raises(SystemExit, match="0"):
        main(["selftest", "--device", "cpu", "--methods", "honest", "--json", str(file)])
    assert "0 failed" in capsys.readouterr().out
    found = Outcome.model_validate_json(file.read_text())
    assert found.passed
    assert found.device == "cpu"
    assert found.packages["torch"] == torch.__version__
    assert [one.method for one in found.speeds] == ["honest"]
    content = json.loads(file.read_text())
    for wrong in ({"schema": 2}, {"checks": [{"name": "forward"}]}, {"user": "me"}):
        with pytest.raises(ValidationError):
            Outcome.model_validate(content | wrong)


def test_a_failed_check_is_exit_status_1(capsys):
    with pytest.raises(SystemExit, match="1"):
        main(["selftest", "--device", "cpu", "--methods", "wrong"])
    shown = capsys.readouterr().out
    assert "FAILED wrong: forward: 5.0e-03 is above 1.0e-04" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--device", "nonsense"], "cannot be used here"), (["--methods", "mixstee"], "did you mean")],
)
def test_a_mistake_is_exit_status_2(arguments, expected, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["selftest", "--device", "cpu", *arguments])
    assert expected in capsys.readouterr().err.lower()


def test_products_in_tf32_would_not_pass():
    """Rounded to 11 bits, as a GPU with TF32 on does it, the error of a product is above the tolerance."""
    devices = checks.Devices(torch.device("cpu"))
    assert checks.products(devices) < TOLERANCES["products"].largest
    source = torch.Generator().manual_seed(0)
    first, second = (torch.randn(512, 512, generator=source) for _ in range(2))
    rounded = [(one.view(torch.int32) + 0x1000 & -0x2000).view(torch.float32) for one in (first, second)]
    error = checks._apart((rounded[0] @ rounded[1]).double(), first.double() @ second.double())
    assert TOLERANCES["products"].largest < error < TOLERANCES["TF32 products"].largest


@pytest.mark.slow
def test_this_machine_passes():
    registry._registered.clear()
    outcome = outcome_of()
    assert outcome.passed, outcome.text()
    ours = {"diff3dhpe", "mean_pose", "mixste", "poseformer", "pstmo", "videopose3d"}
    assert ours <= {one.method for one in outcome.speeds}


@pytest.mark.slow
def test_compiled_networks_compute_the_same():
    outcome = outcome_of("honest", compiled=True)
    (one,) = [one for one in outcome.checks if one.name == "compile"]
    assert one.verdict == "passed" or one.note == "there is no C++ compiler"
