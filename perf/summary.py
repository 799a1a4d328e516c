"""The outcome: `results/perf/<device>.json`, and the tables of `docs/reference/performance.md` rendered from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.show.tables.pages import fill
from bench.system import paths
from bench.system.provenance import provenance

NONE = "—"

# Groups in the order of the page: heading, what is measured, what the reference is.
GROUPS = {
    "lift": (
        "Lifting",
        "One batch, all sampling steps of a method that samples. Reference: attention as a matrix, minus an identity "
        "matrix where a method subtracts the values; for `videopose3d` the dilated convolutions over all frames.",
    ),
    "denoise": ("One pass of a denoiser", "The same, without the sampler around it."),
    "train": (
        "One step of training",
        "Loss, gradients, AdamW. Reference: as above, and PyTorch's default AdamW, a loop over the "
        "parameters. *Held* is what autograd keeps for the backward pass, parameters left out.",
    ),
    "attention": (
        "Attention kernels",
        "Here *ours* is the fused kernel of PyTorch in all cases, the reference plain products. Below 64 channels per "
        "head, `baselines.layers.attend` takes the plain products on a CPU.",
    ),
    "data": (
        "Batches of training windows",
        "Eight batches in random order, half of the windows mirrored. Reference: a data set that cuts, pads, mirrors "
        "and copies one window at a time, through a DataLoader without workers.",
    ),
    "metrics": ("Metrics", "Reference: a loop over frames."),
    "start": ("Cold start", "A new process, Python's own start included. Reference: everything imported at once."),
}


def condense(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cases of a report of pytest-benchmark, in the order they ran.

    A case holds group, case (its title), rounds, the medians ours_seconds and reference_seconds, the median of their
    ratio, and what else was written down. Without a reference both its seconds and the ratio are missing.
    """
    return [
        {
            "group": one["group"],
            "ours_seconds": _rounded(one["stats"]["median"]),
            "rounds": one["stats"]["rounds"],
            **{key: _rounded(fact) if isinstance(fact, float) else fact for key, fact in one["extra_info"].items()},
        }
        for one in report["benchmarks"]
    ]


def write(cases: Sequence[Mapping[str, Any]], device: str, root: Path | None = None) -> list[Path]:
    """Write results/perf/<device>.json of the project and render the page again. Returns both files."""
    root = root or paths.root()
    known = provenance()
    kind = device.partition(":")[0]
    results = {
        "cases": list(cases),
        "date": datetime.now(UTC).date().isoformat(),
        "device": kind,
        "git": known["git"],
        "hardware": known["hardware"],
        "packages": known["packages"],
        "threads": 1,
    }
    file, page = root / "results" / "perf" / f"{kind}.json", root / "docs" / "reference" / "performance.md"
    paths.write_text(file, json.dumps(results, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")
    paths.write_text(page, rendered(page.read_text(encoding="utf-8"), root / "results" / "perf"))
    return [file, page]


def rendered(page: str, folder: Path) -> str:
    """The text of the page with the tables of all results in a folder."""
    files = sorted(folder.glob("*.json"))
    sections = [section(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return fill(page, {"results": "\n\n".join(sections)})


def section(results: Mapping[str, Any]) -> str:
    """The tables of one device."""
    hardware, packages = results["hardware"], results["packages"]
    machine = hardware["cpu"] if results["device"] == "cpu" else f"{hardware['gpu']} with {hardware['cpu']}"
    about = (
        f"{results['threads']} thread of {hardware['cores']} cores, Python {packages['python']}, "
        f"torch {packages['torch']}, {results['date']}."
    )
    return "\n\n".join([f"## On {machine}", about, *tables(results["cases"])])


def tables(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Heading, meaning and table of every group that has cases."""
    parts = []
    for group, (title, meaning) in GROUPS.items():
        if chosen := [case for case in cases if case["group"] == group]:
            parts += [f"### {title}", meaning, table(chosen)]
    return parts


def table(cases: Sequence[Mapping[str, Any]]) -> str:
    """Cases of one group in Markdown: our time, the reference's, the ratios of time and of memory."""
    columns = {
        "Case": [case["case"] for case in cases],
        "Ours": [_time(case["ours_seconds"]) for case in cases],
        "Reference": [_time(case.get("reference_seconds")) for case in cases],
        "Reference / ours": [_ratio(case.get("ratio")) for case in cases],
    }
    for fact, title in (("held_bytes", "Held"), ("peak_gpu_bytes", "Peak")):
        if any(f"ours_{fact}" in case for case in cases):
            ours, plain = ([case.get(f"{form}_{fact}") for case in cases] for form in ("ours", "reference"))
            columns[f"{title}, ours"] = [_size(one) for one in ours]
            columns[f"{title}, reference / ours"] = [
                _ratio(b / a if a and b else None) for a, b in zip(ours, plain, strict=True)
            ]
    alignment = ["left"] + ["right"] * (len(columns) - 1)
    return tabulate(columns, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=alignment)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:#.3g}".rstrip(".")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    for factor, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= factor:
            return _scaled(seconds, factor, unit)
    return _scaled(seconds, 1e-6, "µs")


def _size(count: int | None) -> str:
    if count is None:
        return NONE
    return _scaled(count, 2.0**30, "GiB") if count >= 2**30 else _scaled(count, 2.0**20, "MiB")


def _scaled(value: float, factor: float, unit: str) -> str:
    return f"{value / factor:#.3g}".rstrip(".") + f" {unit}"
