"""`bench import`, `tables`, `report`, `methods`, `ui`: benchmarks and what they leave behind."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from bench.cli.command import Commands, add_data, command, names, positive
from bench.system.errors import BenchError

FORMATS = ("markdown", "latex", "csv", "html")
BY = (
    "benchmark",
    "further",
    "action",
    "joint",
    "subject",
    "sequence",
    "activity",
    "scene",
    "joint_group",
    "usage",
    "cost",
)


def add(commands: Commands) -> None:
    """Declare the commands of this room."""
    imported = command(
        commands,
        "import",
        "make a weights file of a published checkpoint",
        "bench import mixste best_epoch_cpn_243f.bin --for h36m-cpn-243",
        _import,
    )
    imported.add_argument("method", help="a registered method, or METHOD-STAGE like pstmo-pretrain")
    imported.add_argument("file", help="the checkpoint, as its authors published it; nothing in it is executed")
    where = imported.add_mutually_exclusive_group()
    where.add_argument(
        "-o", "--output", metavar="FILE", help="default: METHOD-NAME.safetensors in checkpoints/, NAME being the file's"
    )
    where.add_argument("--for", dest="benchmark", metavar="BENCHMARK", help="put it where this benchmark looks for it")
    imported.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="a hyper-parameter that tensors do not tell; may be repeated",
    )
    imported.add_argument("--force", action="store_true", help="replace a weights file that is there and differs")

    tables = command(
        commands,
        "tables",
        "rewrite the tables of README and results/tables, or give one as LaTeX, CSV, HTML, Markdown or a figure",
        "bench tables --format latex cmu-gt-27 --by action -o actions.tex",
        _tables,
    )
    tables.add_argument("benchmark", nargs="?", help="a name in configs/, for --format (default: all) and --figure")
    what = tables.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="change nothing; exit 2 if a table drifted")
    what.add_argument("--format", choices=FORMATS, help="give a table in this format instead")
    what.add_argument("--figure", choices=("cost",), help="draw MPJPE against multiply-adds instead; needs -o")
    tables.add_argument("--by", choices=BY, help="with --format: what its columns are (default benchmark: metrics)")
    tables.add_argument("-o", "--output", metavar="FILE", help="where it goes (default: the terminal)")

    report = command(
        commands,
        "report",
        "write one HTML file to look at: tables, charts, poses in 3D",
        "bench report --benchmarks demo,cmu-det-27",
        _report,
    )
    report.add_argument("-o", "--output", metavar="FILE", help="default: report.html in results/")
    report.add_argument("--benchmarks", metavar="A,B", help="only these of configs/ (default: all)")
    report.add_argument("--track", action="store_true", help="keep a copy in MLflow too")
    add_data(report)

    command(commands, "methods", "list the registered methods", "bench methods", _methods)

    ui = command(
        commands, "ui", "show the tracked runs in a browser, on this machine only", "bench ui --port 5001", _ui
    )
    ui.add_argument("--port", type=positive, default=5000)


def _import(options: argparse.Namespace) -> int:
    from bench.config.load import key_and_value, load_benchmark

    given = dict(key_and_value(change, example="heads=8") for change in options.set or ())
    benchmark = load_benchmark(options.benchmark) if options.benchmark else None
    from bench.method import weights as files  # brings torch: only once the command line is known to be good
    from bench.method.registry import method_and_stage
    from bench.system.paths import shown

    file = Path(options.file)
    weights = files.import_file(options.method, file, given)
    stage = method_and_stage(weights.method)[1]
    if benchmark is not None:
        entry = weights.entry(benchmark)
        path = files.benchmark_path(benchmark.name, entry, stage)
        commands = [["run", options.benchmark, "--methods", entry]]
    else:
        path = Path(options.output) if options.output else files.default_path(weights.method, file)
        commands = []
        for name in files.fitting_benchmarks(weights):
            entry = weights.entry(load_benchmark(name))
            key = f"{entry}-{stage}" if stage else entry
            commands.append(["run", name, "--methods", entry, "--weights", f"{key}={shown(path)}"])
    files.save_weights(weights, path, force=options.force)
    print(files.summary(weights))
    print(f"  written     {shown(path)}")
    for words in commands:
        print(f"  evaluate    bench {shlex.join(words)}")
    if not commands:
        print("  evaluate    no benchmark in configs/ is of this size; bench.load_weights reads the file in Python")
    return 0


def _tables(options: argparse.Namespace) -> int:
    from bench.show import tables

    if options.format or options.figure:
        return _one_table(options)
    if options.benchmark or options.by or options.output:
        raise BenchError("BENCHMARK, --by and -o go with --format or --figure; bench tables alone rewrites every table")
    changed = tables.write(check=options.check)
    for name in changed:
        print(f"{'drifted' if options.check else 'written'}  {name}")
    for line in tables.left_out():
        print(f"left out {line}")
    for line in tables.own_numbers():
        print(f"own      {line}  (pages show published records)")
    if options.check and changed:
        print("bench: tables do not say what results/ says; run: make tables", file=sys.stderr)
        return 2
    if not changed:
        print("every table says what results/ says")
    return 0


def _report(options: argparse.Namespace) -> int:
    from bench.show.report import default_path, log_report, write_report

    path = Path(options.output) if options.output else default_path()
    print(write_report(path, names(options.benchmarks), data=options.data))
    if options.track:
        print(log_report(path))
    return 0


def _one_table(options: argparse.Namespace) -> int:
    from bench.system import paths

    file = Path(options.output) if options.output else None
    if options.figure:
        if not (options.benchmark and file) or options.by:
            raise BenchError("a figure needs a benchmark and a file: bench tables --figure cost NAME -o cost.svg")
        from bench.config.load import load_benchmark
        from bench.show.cost_figure import cost_figure

        cost_figure(file, load_benchmark(options.benchmark))
    else:
        from bench.show.tables.export import export

        links = Path(os.path.relpath(paths.records(), file.parent if file else Path.cwd())).as_posix()
        text = export(options.format, options.benchmark, options.by or "benchmark", links)
        if file is None:
            print(text, end="")
            return 0
        paths.write_text(file, text)
    print(f"written  {paths.shown(file)}")
    return 0


def _methods(options: argparse.Namespace) -> int:
    from bench.method.catalogue import catalogue

    print(catalogue())
    return 0


def _ui(options: argparse.Namespace) -> int:
    from bench.results.tracking import ui

    print(*ui.announcement(options.port), sep="\n", flush=True)
    ui.serve(options.port)
