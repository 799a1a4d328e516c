"""Whether a repeated run agrees with its record: reproduced, in agreement, or different.

A sum of floating-point numbers depends on the order of its terms. That order depends on the processor, on the
kernels that a library chooses for it, and on the number of threads. Where all of these are the same, a run on a CPU
reproduces its record to the last digit. Otherwise sums differ in their seventh digit; training amplifies that, step by
step, to another network of the same quality. How far apart such networks end was measured
(docs/explanation/reproducibility.md), and it sets the limits below.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from bench.results.records import Record, differences
from bench.results.statistics import NOTHING_TRAINED

# The largest relative difference of any metric that other kernels or threads explain.
TRAINED = 0.04  # of networks trained here: twice the 0.021 that was measured
PREDICTED = 1e-4  # where nothing is trained: measured differences were at most the last of six digits

Verdict = Literal["reproduced", "agrees", "differs"]


@dataclass(frozen=True)
class Agreement:
    """The result of a comparison. text: one line, like "agrees: mpjpe 0.48 mm apart, other processor"."""

    verdict: Verdict
    text: str


def agreement(record: Record, existing: Record) -> Agreement:
    """Compare the record of a repeated run with the existing record of the same run.

    reproduced: every metric is the same in all six digits of a file. agrees: within the limit, and something that the
    order of sums depends on differs or is not known. differs: beyond the limit, or not equal although nothing that sums
    depend on differs. Metrics that only the new record has are left out: an earlier version did not
    measure them. Raises ValueError if the run keys differ.
    """
    if record.run_key != existing.run_key:
        raise ValueError(f"records of two runs: {record.run_key} and {existing.run_key}")
    apart = {name: abs(value) for name, value in differences(record, existing).items() if name in existing.metrics}
    if not any(apart.values()):
        return Agreement("reproduced", "reproduced")
    if missing := [name for name, value in apart.items() if math.isinf(value)]:
        return Agreement("differs", f"differs: {', '.join(missing)} was not measured again")
    relative = {name: value / (abs(existing.metrics[name].value) or math.ulp(0)) for name, value in apart.items()}
    worst = max(relative, key=relative.__getitem__)
    limit = TRAINED if _trained_here(record) else PREDICTED
    reasons = ", ".join(_reasons(record, existing))

    def shown(metric: str) -> str:
        return f"{metric} {float(f'{apart[metric]:.2g}'):g} {existing.metrics[metric].unit} apart"

    if relative[worst] > limit:
        found = f"differs: {shown(worst)}, more than the {100 * limit:g} % that other kernels or threads explain"
        return Agreement("differs", f"{found} ({reasons})" if reasons else found)
    headline = "mpjpe" if apart.get("mpjpe") else worst
    if not reasons:
        return Agreement("differs", f"differs: {shown(headline)}, on the same processor, kernels and threads")
    return Agreement("agrees", f"agrees: {shown(headline)}, {reasons}")


def _trained_here(record: Record) -> bool:
    return record.weights is None and not record.scored_from and record.training.get("kept") != NOTHING_TRAINED


def _reasons(record: Record, existing: Record) -> list[str]:
    """Why sums may have been taken in another order, in words; empty where no reason is known."""
    ours, theirs = (_Machine.of(one) for one in (record, existing))
    found = []
    if ours.processor != theirs.processor and not (
        theirs.kernels is None and ours.processor.startswith(theirs.processor)
    ):
        found.append("other processor")
    elif ours.kernels is None or theirs.kernels is None:
        found.append("perhaps other kernels, which the record does not name")
    elif ours.kernels != theirs.kernels:
        found.append("other kernels")
    if ours.gpu != theirs.gpu:
        found.append("other device")
    elif ours.gpu:
        found.append("a GPU, which adds up in any order")
    if record.cost and existing.cost and record.cost.threads != existing.cost.threads:
        found.append(f"{record.cost.threads} instead of {existing.cost.threads} threads")
    for name, mine, kept in (
        ("torch ", record.provenance.packages.get("torch"), existing.provenance.packages.get("torch")),
        ("", record.precision, existing.precision),
    ):
        if mine and kept and mine != kept:
            found.append(f"{name}{mine} instead of {kept}")
    return found


@dataclass(frozen=True)
class _Machine:
    """The machine of a record. kernels: None in records that do not name them yet."""

    processor: str
    kernels: tuple[str, ...] | None
    gpu: str | None  # that the run was on; None: a CPU, or not known

    @classmethod
    def of(cls, record: Record) -> _Machine:
        processor, *parts = record.provenance.hardware.split(", ")  # bench.system.provenance.hardware_text
        cores = next((at for at, part in enumerate(parts) if re.fullmatch(r"\d+ cores?", part)), None)
        kernels = None if cores is None else (*parts[:cores], parts[-1])
        device = record.cost.device if record.cost else None
        return cls(processor, kernels, device if device in parts else None)
