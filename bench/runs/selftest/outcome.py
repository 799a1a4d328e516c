"""The outcome of a self-test: every check with its value, tolerance and verdict, as tables and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from pydantic import Field
from tabulate import tabulate

from bench.config.schema import Strict
from bench.results.records import portable_text

SCHEMA: Literal[1] = 1
WIDTH = 80
THE_DEVICE = "the device"
LONGEST = 14  # characters of a method's name in a table

Verdict = Literal["passed", "failed", "skipped"]


class Tolerance(NamedTuple):
    """The largest value that passes; its unit; and why it is not zero, or why it is."""

    largest: float
    unit: str
    why: str


# What a value is: of `forward`, `bf16`, `TF32` and `compile` |poses here - reference| / |reference|, Euclidean norms
# over a batch; of `loss` and `epoch` the same of the loss, of `gradients` and `parts` of all gradients together, of
# `resume` of all weights.
TOLERANCES = {
    "products": Tolerance(1e-5, "", "Float32 products keep 24 bits; with TF32, which must be off, 11: 3e-4."),
    "forward": Tolerance(1e-4, "", "Float32 sums are added up in another order on another device."),
    "loss": Tolerance(1e-4, "", "As forward; a loss is a mean over all poses, so errors average out."),
    "gradients": Tolerance(1e-3, "", "As forward, once more in the backward pass; small ones are differences."),
    "parts": Tolerance(1e-4, "", "A batch that is split (micro_batch) has the same sums in another order."),
    "epoch": Tolerance(1e-2, "", "Adam divides by the size of a gradient: rounding grows from step to step."),
    "evaluate": Tolerance(0.01, "mm", "The MPJPE of the same weights; tables show a tenth of a millimetre."),
    "resume": Tolerance(0.0, "", "Everything random follows from seed and epoch: the same weights on a CPU."),
    "resume on a GPU": Tolerance(1e-3, "", "Some kernels of a GPU add up in an order that changes from call to call."),
    "bf16": Tolerance(0.1, "", "Features keep 8 bits; first and last layer and losses stay in float32."),
    "TF32": Tolerance(2e-2, "", "Products keep 11 bits. It is off in training and testing."),
    "TF32 products": Tolerance(5e-3, "", "Products keep 11 bits; above the tolerance of float32 if they do."),
    "compile": Tolerance(1e-3, "", "A compiler fuses operations, which rounds less often, elsewhere."),
}


# The checks of a method, in the order of the columns, and what stands above each.
HEADS = {
    "forward": "lift",
    "loss": "loss",
    "gradients": "grad",
    "parts": "parts",
    "epoch": "epoch",
    "evaluate": "eval",
    "resume": "resume",
    "bf16": "bf16",
    "TF32": "TF32",
    "compile": "comp.",
    "speed": "speed",
}


class Group(NamedTuple):
    """Checks of one verdict and one reason: which, and of which methods, in order."""

    reason: str
    methods: dict[str, None]
    names: dict[str, None]


class Check(Strict):
    """One check. method: None for one of the device itself. value: None if there is none, or it is not finite."""

    method: str | None
    name: str
    verdict: Verdict
    value: float | None = Field(None, allow_inf_nan=False)
    tolerance: float | None = Field(None, ge=0)
    seconds: float = Field(ge=0)
    note: str = ""  # why it failed or was skipped


class Speed(Strict):
    """Speed and memory of a method, lifting and in training steps; None where it has no training."""

    method: str
    parameters: int
    width: str  # of the network, as a share of the default: "all", "1/4"
    frames: int  # of a window
    windows: int  # in a batch
    lifted_frames_per_second: float
    trained_frames_per_second: float | None
    precision: str  # of training: float32 or bfloat16
    lifting_peak_mb: float | None  # 10^6 bytes; on a CPU growth of the process, None if it did not grow
    training_peak_mb: float | None


class Outcome(Strict):
    """What `bench selftest --json` writes. It names no path, user or host."""

    schema_: Literal[1] = Field(SCHEMA, alias="schema")
    device: str  # as given to the command: cpu, cuda
    device_name: str
    against: str  # what the device was compared with
    driver: str | None
    torch_build: str
    packages: dict[str, str | None]
    git: dict[str, Any]
    hardware: dict[str, Any]
    checks: tuple[Check, ...]
    speeds: tuple[Speed, ...]

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def passed(self) -> bool:
        return all(one.verdict != "failed" for one in self.checks)

    def json_text(self) -> str:
        """The outcome as the text of a file; the same keys on every machine."""
        return portable_text(self, shown="the self-test")

    def text(self) -> str:
        """The outcome as tables, at most 80 characters wide."""
        parts = [self._head(), self._verdicts(), self._values(), self._notes(), self._speeds(), self._closing()]
        return "\n\n".join(part for part in parts if part)

    def _head(self) -> str:
        lines = [f"{self.device}: {self.device_name}", f"compared with {self.against}", self.torch_build]
        return "\n".join(line for text in lines for line in textwrap.wrap(text, WIDTH))

    def _verdicts(self) -> str:
        """A row per method, a column per check."""
        names = [name for name in HEADS if any(one.name == name and one.method for one in self.checks)]
        found = {(one.method, one.name): _WORDS[one.verdict] for one in self.checks}
        methods = dict.fromkeys(one.method for one in self.checks if one.method)
        rows = [[_short(method), *(found.get((method, name), "") for name in names)] for method in methods]
        widths = [LONGEST, *(max(len(HEADS[name]), 4) for name in names)]
        lines = [["method", *(HEADS[name] for name in names)], ["-" * width for width in widths], *rows]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    def _values(self) -> str:
        """The largest value of each check beside its tolerance, and the reason for the tolerance."""
        rows, reasons = [], []
        measured = {one.name for one in self.checks if one.value is not None}
        for name in (name for name in TOLERANCES if name in measured):
            those = [one for one in self.checks if one.name == name and one.value is not None]
            worst = max(those, key=lambda one: one.value or 0.0)
            allowed = tolerance(name, self.on_gpu)
            values = [f"{_number(value)} {allowed.unit}".rstrip() for value in (worst.value, allowed.largest)]
            rows.append([name, values[0], _short(worst.method or THE_DEVICE), values[1]])
            reasons.append(f"{name}: {allowed.why}")
        heads = ["check", "largest value", "of", "tolerance"]
        table = tabulate(rows, heads, disable_numparse=True, colalign=["left", "right", "left", "right"])
        return "\n".join([table, "", *_wrapped(reasons)]) if rows else ""

    def _notes(self) -> str:
        """Why checks failed and why they were skipped, each reason once."""
        lines = []
        for one in self._grouped("failed"):
            lines.append(f"FAILED {', '.join(one.methods)}: {', '.join(one.names)}: {one.reason}")
        everything = {one.method for one in self.checks if one.method}
        for one in self._grouped("skipped"):
            of = "" if everything <= set(one.methods) else f" of {', '.join(one.methods)}"
            lines.append(f"skipped: {', '.join(one.names)}{of}: {one.reason}")
        return "\n".join(_wrapped(lines))

    def _grouped(self, verdict: Verdict) -> list[Group]:
        """The checks with a verdict, those of one reason together; failures of different methods apart."""
        groups: dict[tuple[str, str], Group] = {}
        for one in self.checks:
            if one.verdict == verdict:
                method = one.method or THE_DEVICE
                key = _reason(one), method if verdict == "failed" else ""
                group = groups.setdefault(key, Group(key[0], {}, {}))
                group.methods[method] = group.names[one.name] = None
        return list(groups.values())

    def _speeds(self) -> str:
        rows = [
            [
                _short(one.method),
                f"{one.parameters:,}",
                f"{one.lifted_frames_per_second:,.0f}",
                "-" if one.trained_frames_per_second is None else f"{one.trained_frames_per_second:,.0f}",
                _megabytes(one.lifting_peak_mb),
                _megabytes(one.training_peak_mb),
            ]
            for one in self.speeds
        ]
        heads = ["method", "parameters", "frames/s", "training", "peak MB", "training"]
        if not rows:
            return ""
        first = self.speeds[0]
        about = (
            f"Speed at {first.width} of the default width, in batches of {first.windows} windows of {first.frames} "
            f"frames, all of them counted; training in {first.precision}. It depends on what else the machine does."
        )
        table = tabulate(rows, heads, disable_numparse=True, colalign=["left", *["right"] * 5])
        return "\n".join([table, "", *_wrapped([about])])

    def _closing(self) -> str:
        counts = {verdict: sum(one.verdict == verdict for one in self.checks) for verdict in _WORDS}
        seconds = sum(one.seconds for one in self.checks)
        return f"{', '.join(f'{count} {verdict}' for verdict, count in counts.items())}; {seconds:.0f} s of checks"


_WORDS: dict[Verdict, str] = {"passed": "ok", "failed": "FAIL", "skipped": "-"}


def tolerance(name: str, on_gpu: bool) -> Tolerance:
    """The tolerance of a check on a CPU or a GPU."""
    return TOLERANCES.get(f"{name} on a GPU", TOLERANCES[name]) if on_gpu else TOLERANCES[name]


def _reason(one: Check) -> str:
    if one.note or one.value is None or one.tolerance is None:
        return one.note
    return f"{_number(one.value)} is above {_number(one.tolerance)}"


def _number(value: float | None) -> str:
    return f"{value:.1e}" if value else "0"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _wrapped(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in textwrap.wrap(text, WIDTH, subsequent_indent="    ")]
