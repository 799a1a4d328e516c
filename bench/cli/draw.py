"""`bench draw`: figures of predictions, and animations of them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.command import Commands, add_data, command, group, names, positive
from bench.system.errors import BenchError

if TYPE_CHECKING:
    from bench.runs.gallery import Frame, Gallery
    from bench.show.draw.animation import Span
    from bench.show.draw.trace import Trace
    from bench.show.draw.video import Footage

FIGURES = (".png", ".pdf", ".svg")
WHERE = {
    "subject": "of the test set, like S9",
    "action": "like Walking",
    "sequence": 'like "Walking 1"',
    "camera": "like 60457274",
}


def add(commands: Commands) -> None:
    """Declare the commands."""
    room = group(commands, "draw", "figures and animations of predictions", "bench draw figure demo --method mixste")
    figure = command(
        room,
        "figure",
        "draw one frame: input, truth, predictions, the steps of a sampler, and the errors of the video",
        "bench draw figure demo --method diff3dhpe,mixste --action Walking --frame worst -o worst.pdf",
        _figure,
    )
    _add_common(figure)
    figure.add_argument("-o", "--output", metavar="FILE", help="ends in .png, .pdf or .svg (default: figure.png)")
    moving = command(
        room,
        "animate",
        "animate a video's input, truth and predictions side by side, or one frame as it is denoised",
        "bench draw animate demo --method diff3dhpe,mixste --frames 0:300 -o walk.mp4",
        _animate,
    )
    _add_common(moving)
    moving.add_argument("-o", "--output", metavar="FILE", help="ends in .mp4 or .gif (default: animation.mp4)")
    moving.add_argument(
        "--kind",
        choices=("video", "denoise"),
        default="video",
        help="the video, or one frame as it is denoised (default video)",
    )
    moving.add_argument(
        "--frames", type=_span, metavar="A:B[:STEP]", help="frames of the video, as a Python slice (default: all)"
    )
    moving.add_argument("--fps", type=_above_zero, help="frames per second (default: real time; denoise: 2)")
    moving.add_argument("--size", type=_side, default=400, metavar="PIXELS", help="height of a panel (default 400)")
    add_footage(moving, "--video")


def _add_common(parser: argparse.ArgumentParser) -> None:
    """The options of figures and animations: benchmark, methods, video, frame."""
    parser.add_argument("benchmark", help="a name in configs/, or a path to a YAML file")
    parser.add_argument(
        "--method", required=True, metavar="M[,M2...]", help="methods of the benchmark with finished runs"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the runs and of noise (default 0)")
    parser.add_argument("--checkpoint", metavar="FILE", help="lift with these weights instead, as bench lift")
    parser.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="as given to bench run; with --checkpoint a hyper-parameter, as in bench lift; may be repeated",
    )
    where = parser.add_argument_group("the video (default: any)")
    for name, what in WHERE.items():
        where.add_argument(f"--{name}", metavar="NAME", help=what)
    parser.add_argument(
        "--frame",
        type=_frame,
        default="median",
        metavar="N",
        help="frame, counted from 0; or `median` or `worst` by the first method's error (default median)",
    )
    parser.add_argument("--steps", type=positive, metavar="K", help="sampling steps (default: the method's)")
    parser.add_argument("--device", default="auto", help="device for lifting: auto, cpu, cuda ... (default auto)")
    add_data(parser)


def _figure(options: argparse.Namespace) -> int:
    output = _figure_file(options.output or "figure.png")
    gallery = _gallery(options)
    from bench.show.draw.figure import draw_figure
    from bench.system.paths import shown

    row, frame = gallery.find(options.frame)
    scene = gallery.scene(row)
    draw_figure(output, scene, frame, _traces(gallery, row, frame, options))
    print(f"video    {scene.title}{_others(gallery)}")
    print(f"frame    {frame:,} of {len(scene):,}{'' if isinstance(options.frame, int) else f', the {options.frame}'}")
    for label, errors in scene.errors.items():
        print(f"error    {label} {errors[frame]:.1f} mm")
    print(f"written  {shown(output)}")
    return 0


def _animate(options: argparse.Namespace) -> int:
    output = animation_file(options.output or "animation.mp4")
    footage = footage_of(options, options.video)
    if options.kind == "denoise" and (footage or options.frames):
        raise BenchError("--video and --frames go with --kind video; --kind denoise shows one frame: --frame")
    if footage and footage.path.resolve() == output.resolve():
        raise BenchError(f"{options.video} is an input file; write to another file")
    gallery = _gallery(options)
    from bench.show.draw.animation import animate, animate_denoising
    from bench.system.paths import shown

    if options.kind == "denoise":
        row, frame = gallery.find(options.frame)
        scene = gallery.scene(row)
        traces = _traces(gallery, row, frame, options)
        if not traces:
            raise BenchError(f"{options.method} lifts in one pass: there is no diffusion to show")
        drawn = animate_denoising(output, scene, frame, traces, fps=options.fps, panel=options.size)
    else:
        scene = gallery.scene(gallery.rows[0])
        drawn = animate(output, scene, span=options.frames, footage=footage, fps=options.fps, panel=options.size)
    print(f"video    {scene.title}{_others(gallery)}")
    print(f"frames   {drawn:,}")
    print(f"written  {shown(output)}")
    return 0


def add_footage(parser: argparse.ArgumentParser, option: str) -> None:
    """The options for the video behind the input."""
    group = parser.add_argument_group("the video behind the input")
    group.add_argument(option, metavar="FILE", help="any format that ffmpeg reads")
    group.add_argument(
        "--skip", type=_count, default=0, metavar="N", help="frames of the file before the first of the data"
    )
    group.add_argument("--crop", type=_crop, metavar="X,Y,W,H", help="show this part of the video, in pixels")


def footage_of(options: argparse.Namespace, file: str | None) -> Footage | None:
    """The video that the options of `add_footage` name; None if none. Raises BenchError as `Footage.size`."""
    if file is None:
        if options.skip or options.crop:
            raise BenchError("--skip and --crop need a video; name its file")
        return None
    from bench.show.draw.video import Footage

    footage = Footage(Path(file), options.skip, options.crop)
    footage.size()  # raises now, not after lifting
    return footage


def _traces(gallery: Gallery, row: int, frame: int, options: argparse.Namespace) -> dict[str, Trace]:
    """The sampling steps of the methods that have a sampler."""
    from bench.show.draw.trace import samples, trace

    methods = {label: method for label, answer in gallery.answers.items() if samples(method := answer.load())}
    if options.steps and not methods:
        raise BenchError(f"--steps needs a sampler; {options.method} lifts in one pass")
    return {
        label: trace(method, gallery.video(row), frame, seed=options.seed, steps=options.steps)
        for label, method in methods.items()
    }


def _gallery(options: argparse.Namespace) -> Gallery:
    """The gallery that the options describe."""
    from bench.config.load import key_and_value, load_benchmark

    changes = options.set or ()
    given = dict(key_and_value(change, example="sampling_steps=9") for change in changes) if options.checkpoint else {}
    benchmark = load_benchmark(options.benchmark, () if options.checkpoint else changes)
    from bench.runs.gallery import Choice, load_gallery  # imports torch: only after the arguments are checked

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
    """How many videos fit the options, if there are several."""
    others = len(gallery.rows) - 1
    return f" (of {others + 1:,} that fit)" if others else ""


def animation_file(name: str) -> Path:
    """The path of an animation. Raises BenchError for an unknown format, and if ffmpeg is needed and missing."""
    from bench.show.draw.video import check_writable

    check_writable(path := Path(name))
    return path


def _figure_file(name: str) -> Path:
    path = Path(name)
    if path.suffix.lower() not in FIGURES:
        raise BenchError(f"{name}: give it a name that ends in {', '.join(FIGURES[:-1])} or {FIGURES[-1]}")
    return path


def _frame(text: str) -> Frame | Any:
    if text in ("median", "worst"):
        return text
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a frame: they are counted from 0")
    return number


def _span(text: str) -> Span:
    parts = re.fullmatch(r"(\d*):(\d*)(?::([1-9]\d*))?", text)
    if not parts:
        raise argparse.ArgumentTypeError(f"{text!r} is not A:B or A:B:STEP, like 100:300 or ::2")
    from bench.show.draw.animation import Span

    return Span(int(parts[1] or 0), int(parts[2]) if parts[2] else None, int(parts[3] or 1))


def _crop(text: str) -> tuple[int, int, int, int]:
    parts = re.fullmatch(r"(\d+),(\d+),([1-9]\d*),([1-9]\d*)", text)
    if not parts:
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y,WIDTH,HEIGHT in pixels, like 0,100,640,480")
    left, top, width, height = (int(part) for part in parts.groups())
    return left, top, width, height


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def _side(text: str) -> int:
    side = positive(text)
    if not 100 <= side <= 2000:
        raise argparse.ArgumentTypeError(f"{text} is not in 100..2000 pixels")
    return side


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number
