"""`bench lift`: lift the 2D keypoints of a user's own video."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from bench.cli.command import Commands, command
from bench.cli.draw import add_footage, animation_file, footage_of
from bench.system.errors import BenchError


def add(commands: Commands) -> None:
    """Declare the command."""
    lift = command(
        commands,
        "lift",
        "lift the 2D keypoints that a detector found in a video",
        "bench lift --keypoints alphapose-results.json --size 1920x1080 --fps 30 --checkpoint weights.pt -o clip.npz",
        _lift,
    )
    lift.add_argument(
        "--keypoints",
        required=True,
        metavar="FILE",
        help="17 keypoints per person: .npz, or JSON of AlphaPose, Detectron2 or MMPose",
    )
    lift.add_argument(
        "--checkpoint",
        required=True,
        metavar="FILE",
        help="weights.pt of a run, a weights file of bench import, or a published checkpoint",
    )
    lift.add_argument("--method", metavar="NAME", help="method of the checkpoint; needed for a published one")
    lift.add_argument("-o", "--output", required=True, metavar="FILE", help="the .npz file to write")
    lift.add_argument("--csv", metavar="FILE", help="also write the poses as a table")
    lift.add_argument("--animation", metavar="FILE", help="also animate keypoints and poses: .mp4 or .gif")

    video = lift.add_argument_group("the video")
    video.add_argument("--size", type=_size, metavar="WxH", help="in pixels, like 1920x1080; default: the file's")
    video.add_argument("--fps", type=_above_zero, help="frames per second; default: the file's, else 50")
    video.add_argument(
        "--layout", choices=("coco", "h36m"), help="joints of the keypoints, if the file does not state them"
    )
    video.add_argument("--video", metavar="NAME", help="which one, if the file holds several")
    video.add_argument("--person", metavar="ID", help="a track of the file; default: the main person")
    video.add_argument(
        "--min-score", type=float, default=0.3, metavar="X", help="keypoints below it are not used (default 0.3)"
    )
    video.add_argument(
        "--max-gap", type=_above_zero, default=2.0, metavar="SECONDS", help="longest gap that is filled in (default 2)"
    )

    how = lift.add_argument_group("the method")
    how.add_argument(
        "--trained-on",
        choices=("coco", "h36m"),
        default="h36m",
        help="joints of the 2D input of the weights (default h36m)",
    )
    how.add_argument("--set", action="append", metavar="KEY=VALUE", help="change a hyper-parameter; may be repeated")
    how.add_argument("--no-flip", dest="flip", action="store_false", help="do not average with the mirror image")
    how.add_argument("--seed", type=int, default=0, help="seed of methods that sample (default 0)")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")

    add_footage(lift, "--footage")


def _lift(options: argparse.Namespace) -> int:
    from bench.config.load import key_and_value
    from bench.system.paths import shown

    keypoints, checkpoint, output = Path(options.keypoints), Path(options.checkpoint), Path(options.output)
    csv = Path(options.csv) if options.csv else None
    animation = animation_file(options.animation) if options.animation else None
    footage = footage_of(options, options.footage)
    if footage and not animation:
        raise BenchError(f"{shown(footage.path)} is the background of an animation; also give --animation FILE")
    given = dict(key_and_value(change, example="sampling_steps=9") for change in options.set or ())
    if output.suffix != ".npz":
        raise BenchError(f"{shown(output)} would hold arrays: give it a name that ends in .npz")
    read = {keypoints.resolve(), checkpoint.resolve(), *([footage.path.resolve()] if footage else [])}
    for written in (output, csv, animation):
        if written is not None and written.resolve() in read:
            raise BenchError(f"{shown(written)} is an input file; write to another file")
    if csv is not None and csv.resolve() == output.resolve():
        raise BenchError(f"{shown(output)} cannot hold both; give --csv another name")

    from bench.runs import own_video as lift  # imports torch: only after the arguments are checked

    clip = lift.read_clip(
        keypoints,
        layout=options.layout,
        size=options.size,
        fps=options.fps,
        video=options.video,
        person=options.person,
        min_score=options.min_score,
        max_gap=options.max_gap,
    )
    lifter = lift.load_lifter(checkpoint, options.method, given, options.trained_on)
    print(lift.clip_summary(clip))
    lifted = lift.lift(lifter, clip, flip=options.flip, seed=options.seed, device=options.device)
    lifted.save(output, csv)
    print(f"lifted by   {lifter.method.name}, {lifter.method.window.frames} frames, of {shown(checkpoint)}")
    if animation is not None:
        from bench.show.draw.animation import animate

        animate(animation, lifted.scene(keypoints.name), footage=footage)
    for written in (output, csv, animation):
        if written is not None:
            print(f"written     {shown(written)}")
    return 0


def _size(text: str) -> tuple[int, int]:
    sizes = re.fullmatch(r"([1-9]\d*)[xX]([1-9]\d*)", text)
    if not sizes:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, like 1920x1080")
    return int(sizes[1]), int(sizes[2])


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number
