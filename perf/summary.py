"""The outcome: `results/perf/<device>.json`, and what is rendered from it.

That is the tables of `docs/reference/performance.md`, its figure of growth, and the table of what must be reached.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.show.tables.pages import fill
from bench.system import paths
from bench.system.errors import BenchError
from bench.system.provenance import provenance
from perf import growth

NONE = "—"
PAGE = Path("docs", "reference", "performance.md")
PICTURES = Path("docs", "pictures")

# Groups in the order of the page: heading, what is measured, what the reference is.
GROUPS = {
    "wait": (
        "What a user waits for",
        "Wall time of commands, once each, on all cores. Reference: one run at a time (`JOBS=1`).",
    ),
    "evaluation": (
        "Whole evaluations",
        "A test set of 2 subjects, 15 actions and 4 cameras, a tenth as long as Human3.6M's videos; mirrored input "
        "included, and MPJPE, P-MPJPE, N-MPJPE and MPJVE. Reference: the file is read again for every action, one "
        "window is lifted at a time, its mirror image in a second pass, metrics loop over frames. Where that would "
        "take hours it lifts every 20th or 100th window, and its seconds stand for all of them.",
    ),
    "video": (
        "Whole videos",
        "Mirrored input included. Reference: window by window, in passes of the size that suits the method best, a "
        "tenth or less of them.",
    ),
    "epoch": (
        "Whole training epochs",
        "Small models, dropout off, a learning rate so small that rounding errors do not grow. Reference: one window "
        "at a time is cut and copied, AdamW loops over parameters, every step waits for its loss. The mean loss, and "
        "what is lifted afterwards, agree to 0.1 %.",
    ),
    "data": (
        "Batches of training windows",
        "Eight batches in random order, half of the windows mirrored. Reference: a data set that cuts, pads, mirrors "
        "and copies one window at a time, with the targets that are answered for, through a DataLoader without "
        "workers.",
    ),
    "share": (
        "Share of the machine's matrix products",
        "Full-size networks; loss, gradients and AdamW in training. Reference: as many multiply-accumulates in "
        "products of square matrices, of the size that is fastest here; the ratio is the share of that rate.",
    ),
    "memory": (
        "Peak memory of a step",
        "Diff3DHPE on 243 frames, in a process of its own, what was there before left out. Reference: the whole batch "
        "at once.",
    ),
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
    "metrics": ("Metrics", "Reference: a loop over frames."),
    "start": ("Cold start", "A new process, Python's own start included. Reference: everything imported at once."),
    "growth": (
        "Growth",
        "One pass of networks of moderate size, and `predict` over videos of 300 frames. Time grows as the size to the "
        "power of the exponent, a fit by least squares of logarithms.",
    ),
}

# Cases that are measured only when they are selected, by title: the words that select them.
SELECTED = {
    "fresh clone to the demo's table": "SELECT=demo",
    "make demo": "SELECT=demo",
    "make demo, beside JOBS=1": "SELECT=demo",
    "cmu-gt-27, 3 seeds, --jobs 2": "SELECT=jobs NAME=cmu-gt-27 SEEDS=3 DATA=FOLDER",
}


def condense(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cases of a report of pytest-benchmark, in the order they ran.

    A case holds group, case (its title), rounds, the medians ours_seconds and reference_seconds, the median of their
    ratio, and what else was written down. Without a reference both its seconds and the ratio are missing.
    """
    cases = []
    for one in report["benchmarks"]:
        facts = {key: _rounded(fact) if isinstance(fact, float) else fact for key, fact in one["extra_info"].items()}
        seconds = facts.pop("measured_seconds", _rounded(one["stats"]["median"]))
        cases.append({"group": one["group"], "ours_seconds": seconds, "rounds": one["stats"]["rounds"], **facts})
    return cases


def merged(
    cases: Sequence[Mapping[str, Any]], device: str, part: bool, root: Path | None = None
) -> list[dict[str, Any]]:
    """New cases, dated, and those that were kept before and not measured again.

    part: whether cases were selected; if not, of those before only the ones that must be selected are kept. Raises
    BenchError if a part was measured on another machine, or with other packages, than the rest.
    """
    file = _file(device, root or paths.root())
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"cases": []}
    known = provenance()
    same = all(before.get(about) == known[about] for about in ("hardware", "packages"))
    if part and before["cases"] and not same:
        raise BenchError(
            f"{paths.shown(file)} was measured on another machine or with other packages, so that this part does not "
            "go with it and was not kept; measure everything: make perf"
        )
    today = datetime.now(UTC).date().isoformat()
    new = {(case["group"], case["case"]): {"date": today, **case} for case in cases}
    old = {
        (case["group"], case["case"]): {"date": before["date"], **case}
        for case in before["cases"]
        if same and (part or case["group"] == "wait")
    }
    return list((old | new).values())


def write(cases: Sequence[Mapping[str, Any]], device: str, root: Path | None = None) -> list[Path]:
    """Write results/perf/<device>.json of the project and render the page again. Returns the files."""
    root = root or paths.root()
    known = provenance()
    file = _file(device, root)
    results = {
        "cases": list(cases),
        "date": datetime.now(UTC).date().isoformat(),
        "device": file.stem,
        "git": known["git"],
        "hardware": known["hardware"],
        "packages": known["packages"],
        "threads": 1,
    }
    paths.write_text(file, json.dumps(results, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")
    render(root)
    return [file, root / PAGE]


def render(root: Path | None = None, check: bool = False) -> list[Path]:
    """Bring the page up to date with results/perf, and draw its figures. Returns the page if it was not.

    check: change nothing. A figure is not checked: its bytes depend on the version of matplotlib.
    """
    root = root or paths.root()
    folder, page = root / "results" / "perf", root / PAGE
    before = page.read_text(encoding="utf-8")
    text = rendered(before, folder)
    if not check:
        for file in sorted(folder.glob("*.json")):
            cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
            if series := growth.series(cases):
                growth.draw(series, root / PICTURES / f"growth-{file.stem}.svg")
        if text != before:
            paths.write_text(page, text)
    return [page] if text != before else []


def _file(device: str, root: Path) -> Path:
    return root / "results" / "perf" / f"{device.partition(':')[0]}.json"


def rendered(page: str, folder: Path) -> str:
    """The text of the page with the tables of all results in a folder."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    blocks = {"results": "\n\n".join(section(results) for results in found)}
    blocks["reach"] = "\n\n".join(f"On {_machine(one)}:\n\n{reached(one['cases'], 'pipe')}" for one in found)
    return fill(page, blocks)


def section(results: Mapping[str, Any]) -> str:
    """The tables of one device."""
    hardware, packages = results["hardware"], results["packages"]
    dates = sorted({case.get("date", results["date"]) for case in results["cases"]})
    about = (
        f"{results['threads']} thread of {hardware['cores']} cores, Python {packages['python']}, "
        f"torch {packages['torch']}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}."
    )
    picture = f"../pictures/growth-{results['device']}.svg"
    return "\n\n".join([f"## On {_machine(results)}", about, *tables(results["cases"], picture)])


def _machine(results: Mapping[str, Any]) -> str:
    hardware = results["hardware"]
    return hardware["cpu"] if results["device"] == "cpu" else f"{hardware['gpu']} with {hardware['cpu']}"


def tables(cases: Sequence[Mapping[str, Any]], picture: str = "") -> list[str]:
    """Heading, meaning and table of every group that has cases. picture: of the growth."""
    parts = []
    for group, (title, meaning) in GROUPS.items():
        if chosen := [case for case in cases if case["group"] == group]:
            parts += [f"### {title}", meaning]
            if group == "growth":
                parts += [f"![Seconds by frames, windows, channels and videos]({picture})"] if picture else []
                parts += [growth_table(chosen)]
            else:
                parts += [table(chosen)]
    return parts


def reached(cases: Sequence[Mapping[str, Any]], form: str = "simple") -> str:
    """The table of what must be reached: one row for each aim of a case, in the order of `GROUPS`."""
    rows = []
    for case in sorted(cases, key=lambda case: list(GROUPS).index(case["group"])):
        sizes = [case.get(f"{form}_step_bytes") for form in ("ours", "reference")]
        times = [_time(case["ours_seconds"]), _time(case.get("reference_seconds"))]
        ours, plain = times if sizes[0] is None else [_size(one) for one in sizes]
        if "reach" in case:
            good = case["ratio"] >= case["reach"]
            rows.append([case["title"], ours, plain, _ratio(case["ratio"]), f">= {case['reach']:g}", good])
        if "within" in case:
            title = case["title"].partition(", beside")[0]
            rows.append([title, ours, NONE, NONE, f"<= {case['within']:g} s", case["ours_seconds"] <= case["within"]])
    shown = [[*row[:-1], "reached" if row[-1] else "missed"] for row in rows]
    headers = ["Work", "Ours", "Reference", "Ratio", "Reach", "Verdict"]
    alignment = ["left", "right", "right", "right", "right", "left"]
    lines = [tabulate(shown, headers, tablefmt=form, disable_numparse=True, colalign=alignment)] if shown else []
    missing = [title for title in SELECTED if title not in {row[0] for row in rows}]
    if missing:
        lines += [
            "\n".join(["Not measured here yet:", "", *(f"- {one}: `make perf {SELECTED[one]}`" for one in missing)])
        ]
    return "\n\n".join(lines)


def growth_table(cases: Sequence[Mapping[str, Any]]) -> str:
    """One row for each series: its ends and the exponent."""
    rows = []
    for (axis, name), points in growth.series(cases).items():
        (first, quick), (last, slow) = points[0], points[-1]
        row = [f"{name}, {first} to {last} {axis}", _time(quick), _time(slow), f"{growth.exponent(points):.2f}"]
        rows.append(row)
    return tabulate(rows, ["Case", "From", "To", "Exponent"], "pipe", disable_numparse=True, colalign=ALIGNED)


ALIGNED = ("left", "right", "right", "right")


def table(cases: Sequence[Mapping[str, Any]]) -> str:
    """Cases of one group in Markdown: our time, the reference's, the ratios of time and of memory."""
    columns = {
        "Case": [case["case"] for case in cases],
        "Ours": [_time(case["ours_seconds"]) for case in cases],
        "Reference": [_time(case.get("reference_seconds")) for case in cases],
        "Reference / ours": [_ratio(case.get("ratio")) for case in cases],
    }
    for fact, title in (("held_bytes", "Held"), ("peak_gpu_bytes", "Peak"), ("step_bytes", "Peak")):
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
    return NONE if value is None else _digits(value)


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
    return f"{_digits(value / factor)} {unit}"


def _digits(value: float) -> str:
    """Three significant digits, or all before the point."""
    return f"{value:,.0f}" if round(value) >= 1000 else f"{value:#.3g}".rstrip(".")
