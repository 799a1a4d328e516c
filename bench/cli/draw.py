"""`bench draw`: figures of predictions, and animations of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.command import Commands, add_data, command, group, names, positive
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.draw.scene import Frame, Gallery

FIGURES = (".png", ".pdf", ".svg")
WHERE = {
    "subject": "of the test set, like S9",
    "action": "like Walking",
    "sequence": 'like "Walking 1"',
    "camera": "like 60457274",
}


def add(commands: Commands) -> None:
    """Declare the commands of this room."""
    room = group(commands, "draw", "figures and animations of predictions", "bench draw figure demo --method mixste")
    figure = command(
        room,
        "figure",
        "draw one frame: input, truth, predictions, the steps of a sampler, and the errors of the video",
        'bench draw figure demo --method diff3dhpe,mixste --action Walking --frame worst -o worst.pdf',
        _figure,
    )
    _add_common(figure)
    figure.add_argument("-o", "--output", metavar="FILE", help="ends in .png, .pdf or .svg (default: figure.png)")


def _add_common(parser: argparse.ArgumentParser) -> None:
    """What is drawn, for figures as for animations."""
    parser.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    parser.add_argument("--method", required=True, metavar="M[,M2...]", help="of the benchmark, with finished runs")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the runs, and of noise (default 0)")
    parser.add_argument("--checkpoint", metavar="FILE", help="lift with these weights instead, as `bench lift`")
    parser.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="as the run was configured; with --checkpoint a hyper-parameter, as in `bench lift`; may be repeated",
    )
    where = parser.add_argument_group("the video (default: any)")
    for name, what in WHERE.items():
        where.add_argument(f"--{name}", metavar="NAME", help=what)
    parser.add_argument(
        "--frame",
        type=_frame,
        default="median",
        metavar="N",
        help="counted from 0, or `median` or `worst` by the first method's error (default median)",
    )
    parser.add_argument("--steps", type=positive, metavar="K", help="of the sampler (default: the method's)")
    parser.add_argument("--device", default="auto", help="for what is lifted now: auto, cpu, cuda ... (default auto)")
    add_data(parser)


def _figure(options: argparse.Namespace) -> int:
    output = _output(options.output or "figure.png", FIGURES)
    gallery = _gallery(options)
    from bench.draw.figure import draw_figure
    from bench.draw.trace import samples, trace
    from bench.paths import shown

    row, frame = gallery.find(options.frame)
    scene = gallery.scene(row)
    methods = {label: method for label, answer in gallery.answers.items() if samples(method := answer.load())}
    if options.steps and not methods:
        raise BenchError(f"--steps is of a sampler; {options.method} lifts in one pass")
    traces = {
        label: trace(method, gallery.video(row), frame, seed=options.seed, steps=options.steps)
        for label, method in methods.items()
    }
    draw_figure(output, scene, frame, traces)
    print(f"video    {scene.title}{_others(gallery)}")
    print(f"frame    {frame:,} of {len(scene):,}{'' if isinstance(options.frame, int) else f', the {options.frame}'}")
    for label, errors in scene.errors.items():
        print(f"error    {label} {errors[frame]:.1f} mm")
    print(f"written  {shown(output)}")
    return 0


def _gallery(options: argparse.Namespace) -> Gallery:
    """What the options name."""
    from bench.config import key_and_value, load_benchmark

    changes = options.set or ()
    given = dict(key_and_value(change, example="sampling_steps=9") for change in changes) if options.checkpoint else {}
    benchmark = load_benchmark(options.benchmark, () if options.checkpoint else changes)
    from bench.draw.scene import Choice, load_gallery  # brings torch: only once the command line is known to be good

    return load_gallery(
        benchmark,
        names(options.method),
        Choice(**{name: getattr(options, name) for name in WHERE}),
        seed=options.seed,
        data=options.data,
        weights=Path(options.checkpoint) if options.checkpoint else None,
        hyperparameters=given,
        device=options.device,
    )


def _others(gallery: Gallery) -> str:
    """How many videos would have fitted too."""
    others = len(gallery.rows) - 1
    return f" (of {others + 1:,} that fit)" if others else ""


def _output(name: str, suffixes: tuple[str, ...]) -> Path:
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        raise BenchError(f"{name}: give it a name that ends in {', '.join(suffixes[:-1])} or {suffixes[-1]}")
    return path


def _frame(text: str) -> Frame | Any:
    if text in ("median", "worst"):
        return text
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a frame: they are counted from 0")
    return number
